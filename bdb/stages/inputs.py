"""What stages read: prepared splits, the defender's clean set, contexts, poison."""

from __future__ import annotations

from functools import cached_property
from typing import cast

import torch

from bdb import artifacts, layout, registry
from bdb.attacks import poisoning
from bdb.attacks.base import Attack, AttackContext
from bdb.attacks.poisoning import Poison, Triggered
from bdb.datasets import split
from bdb.datasets.base import Dataset, DataSpec, ImageSet
from bdb.jobs.jobs import Jobs
from bdb.jobs.plan import clean_fraction
from bdb.layout import Run
from bdb.models import base as models
from bdb.models.base import ModelSpec
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
    """All that can be read for one run; each part is read when it is first asked for."""

    def __init__(self, jobs: Jobs, run: Run) -> None:
        self.jobs = jobs
        self.settings = jobs.settings
        self.run = run
        self.device = devices.pick()

    @cached_property
    def attack(self) -> Attack:
        """The run's attack, with its fields."""
        fields = self.settings.fields("attack", self.run.attack)
        return cast(Attack, registry.get("attack", self.run.attack).make(**fields))

    @cached_property
    def _train(self) -> tuple[ImageSet, DataSpec]:
        return read_split(self.run.dataset, "train")

    @cached_property
    def test(self) -> ImageSet:
        """The clean test set."""
        return read_split(self.run.dataset, "test")[0]

    @property
    def data(self) -> DataSpec:
        """What is known of the data set."""
        return self._train[1]

    @cached_property
    def _clean_mask(self) -> torch.Tensor:
        labels = self._train[0].labels.numpy()
        fraction = clean_fraction(
            self.settings, self.jobs.catalogue.get("dataset", self.run.dataset)
        )
        rng = seeds.numpy_generator(self.run.seed, "clean_set", self.run.dataset)
        return torch.from_numpy(split.part_mask(labels, fraction, rng))

    @property
    def clean_set(self) -> ImageSet:
        """The defender's clean images."""
        return self._train[0][self._clean_mask]

    @property
    def train_set(self) -> ImageSet:
        """The victim's training set, clean: without the defender's images if those are reserved."""
        if self.settings.clean_set.source == "seen":
            return self._train[0]
        return self._train[0][~self._clean_mask]

    @cached_property
    def recipe(self) -> Recipe:
        """The victim's training schedule on this data set."""
        training = self.settings.training
        dataset = cast(type[Dataset], registry.get("dataset", self.run.dataset))
        return recipes.resolve(training.recipe, training.overrides, dataset.recipes)

    @property
    def spec(self) -> ModelSpec:
        """What the victim is built from."""
        fields = self.settings.fields("model", self.run.model)
        return ModelSpec(architecture=self.run.model, fields=fields, data=self.data)

    def context(self) -> AttackContext:
        """What the attacker has; the plan comes later."""
        return AttackContext(
            data=self.data,
            train=self.train_set.to(self.device),
            recipe=self.recipe,
            seed=self.run.seed,
            device=self.device,
            load_clean_model=lambda: models.load(layout.model(self.run.control), self.device),
        )

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
