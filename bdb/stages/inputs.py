"""What stages read: prepared splits, the defender's clean set, contexts, poison."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import cast

import torch

from bdb import artifacts, layout
from bdb.attacks import poisoning
from bdb.attacks.base import Attack, AttackContext, State
from bdb.attacks.poisoning import Poison, Triggered
from bdb.datasets import foreign, split
from bdb.datasets.base import DataSpec, ImageSet
from bdb.datasets.shifts import shift
from bdb.errors import UndeclaredNeedError
from bdb.jobs.catalogue import Entry
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.params import CleanSet
from bdb.training import device as devices
from bdb.training import recipes, seeds
from bdb.training.recipes import Recipe


def read_split(dataset: str, name: str) -> tuple[ImageSet, DataSpec]:
    """One prepared split and what is known of the data set.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    path = layout.prepared(dataset, name)
    tensors, metadata = artifacts.read_tensors(path)
    artifacts.require(tensors, path, images=(torch.uint8, 4), labels=(torch.int64, 1))
    return ImageSet.whole(tensors["images"], tensors["labels"]), DataSpec(**metadata["data"])


class RunInputs:
    """All that can be read for one run; each part is read when it is first asked for.

    Attributes:
        given: the clean set of the cell that it is read for; the first without one.
    """

    def __init__(self, jobs: Jobs, run: Run, cell: str = "") -> None:
        self.jobs = jobs
        self.settings = jobs.settings
        self.run = run
        self.given = self.settings.clean_set_of(cell) or self.settings.clean_sets[0]
        self.device = devices.pick()

    @cached_property
    def attack(self) -> Attack:
        """The run's attack, with its fields."""
        return cast(Attack, self.settings.make("attack", self.run.attack))

    @cached_property
    def trained_as(self) -> Attack | None:
        """The attack that lends its training to a control, if one does."""
        name = self.jobs.trained_as(self.run)
        return cast(Attack, self.settings.make("attack", name)) if name else None

    @cached_property
    def _train(self) -> ImageSet:
        return read_split(self.run.dataset, "train")[0]

    @cached_property
    def _test(self) -> tuple[ImageSet, DataSpec]:
        return read_split(self.run.dataset, "test")

    @property
    def test(self) -> ImageSet:
        """The clean test set."""
        return self._test[0]

    @property
    def data(self) -> DataSpec:
        """What is known of the data set; both splits say the same, and this one is smaller."""
        return self._test[1]

    @cached_property
    def _dataset(self) -> Entry:
        return self.jobs.catalogue.get("dataset", self.run.dataset)

    def _part(self, fraction: float) -> torch.Tensor:
        """A part of the training set, class by class, as a mask."""
        rng = seeds.numpy_generator(self.run.seed, "clean_set", self.run.dataset)
        return torch.from_numpy(split.part_mask(self._train.labels.numpy(), fraction, rng))

    @cached_property
    def _reserved(self) -> torch.Tensor:
        """The images that the victim is not given, as a mask."""
        return self._part(self.settings.reserved(self._dataset))

    @property
    def clean_set(self) -> ImageSet:
        """The defender's clean images."""
        return self.draw(self.given)

    def draw(self, chosen: CleanSet) -> ImageSet:
        """The images of a clean set.

        Of several clean sets, the smaller of a kind is a part of the larger, in an order drawn from
        the run's seed.

        Under `ood` each image is shifted in one of four ways, drawn from the run's seed, or gives
        way to one of its class from another data set.

        Images that the victim was trained on come in a random order and under numbers of their own:
        else the neighbours of one would show where in the training set it lies, poisoned or not.
        """
        source = self._source(chosen)
        classes = self._train.labels.bincount().tolist()
        counts = split.part_counts(classes, chosen.share(self._dataset))
        rng = seeds.numpy_generator(self.run.seed, "clean_set", "first")
        clean = source[torch.from_numpy(split.first(source.labels.numpy(), counts, rng))]
        if chosen.source != "seen":
            return clean
        generator = seeds.generator(self.run.seed, "clean_set", "order")
        order = torch.randperm(len(clean), generator=generator)
        return ImageSet.whole(clean.images[order], clean.labels[order])

    def _source(self, chosen: CleanSet) -> ImageSet:
        """What a clean set is a part of, or all: no victim's images but under `seen`."""
        if chosen.source == "seen" and len(self.settings.clean_sets) > 1:
            return self.train_set
        if chosen.source == "seen":
            return self._train[self._part(chosen.share(self._dataset))]
        kept = self._train[self._reserved]
        if chosen.dataset:
            return self._elsewhere(chosen.dataset, kept.labels)
        if chosen.source == "ood":
            draws = seeds.generator(self.run.seed, "clean_set", "shift")
            return replace(kept, images=shift(kept.images, chosen.severity, draws))
        return kept

    def _elsewhere(self, name: str, labels: torch.Tensor) -> ImageSet:
        """As many images per class of a second data set as these labels name, or all it has."""
        there, data = read_split(name, "train")
        there = foreign.relabel(there, data, self.data, f"clean_set.dataset: {name}")
        rng = seeds.numpy_generator(self.run.seed, "clean_set", name)
        mask = split.drawn(there.labels.numpy(), labels.bincount().tolist(), rng)
        return foreign.reshape(there[torch.from_numpy(mask)], self.data.shape)

    @property
    def train_set(self) -> ImageSet:
        """The victim's training set, clean: without the defender's images if those are reserved."""
        return self._train[~self._reserved] if self.settings.keeps_images else self._train

    @cached_property
    def recipe(self) -> Recipe:
        """The victim's training schedule on this data set."""
        return self.recipe_of(self.run.dataset)

    def recipe_of(self, dataset: str) -> Recipe:
        """The training schedule on a data set."""
        training = self.settings.training
        of_dataset = self.jobs.catalogue.get("dataset", dataset).can("recipes")
        return recipes.resolve(training.recipe, training.overrides, of_dataset)

    @property
    def spec(self) -> ModelSpec:
        """What the victim is built from."""
        name, settings = self.run.model, self.settings
        return ModelSpec(
            architecture=settings.method("model", name),
            fields=settings.fields("model", name),
            data=self.data,
        )

    def context(self) -> AttackContext:
        """What the attacker has; the plan comes later."""
        return AttackContext(
            data=self.data,
            train=self.train_set.to(self.device),
            recipe=self.recipe,
            seed=self.run.seed,
            device=self.device,
            spec=self.spec if "architecture" in self.attack.needs else None,
            load_clean_model=lambda: models.load(layout.model(self.run.control), self.device),
            load_surrogate=self._surrogate,
            load_trigger=self._trigger,
            load_foreign=self._foreign,
        )

    def _surrogate(self, name: str) -> Classifier:
        declared = self.jobs.shared.surrogates_of(self.run)
        if name not in declared:
            names = sorted(declared)
            raise UndeclaredNeedError(f"the attack read surrogate {name!r}, but declares {names}")
        return models.load(declared[name].path, self.device)

    def _trigger(self) -> State:
        run = self.jobs.shared.trigger(self.run)
        if run is None:
            raise UndeclaredNeedError(f"{self.run.attack} does not declare shares_trigger")
        return poisoning.load_trigger(layout.trigger(run), self.device)

    def _foreign(self) -> ImageSet:
        name = self.jobs.shared.foreign(self.run)
        if name is None:
            raise UndeclaredNeedError(f"{self.run.attack} names no foreign data set")
        return foreign.reshape(read_split(name, "train")[0], self.data.shape).to(self.device)

    @cached_property
    def poison(self) -> Poison:
        """The whole poison artefact."""
        return poisoning.load(layout.poison(self.run, self.attack.controls_training))

    @property
    def triggered(self) -> Triggered:
        """The triggered test images; of a clean run, the plain images of other classes."""
        if self.run.is_clean:
            return poisoning.triggered_test(self.attack, self.context(), {}, self.test)
        return self.poison.test

    @property
    def given_train_set(self) -> ImageSet:
        """The victim's training set as it was delivered."""
        return self.train_set if self.run.is_clean else self.poison.apply(self.train_set)

    @property
    def is_poison(self) -> torch.Tensor:
        """Which samples of that training set are poison: bool, N."""
        if self.run.is_clean:
            return torch.zeros(len(self.train_set), dtype=torch.bool)
        plan = self.poison.plan
        return torch.isin(self.train_set.ids, plan.ids[plan.is_poison])
