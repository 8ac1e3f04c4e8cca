"""Sleeper Agent: poisons whose gradient is that of a trigger that they do not show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bdb.attacks import gradients, pictures
from bdb.attacks.base import AttackContext, ClassIndex, DataPoisoning, LabelMode, Role, State
from bdb.attacks.extent import Extent
from bdb.attacks.surrogates import Surrogate
from bdb.datasets.base import ImageSet
from bdb.errors import ParamsError
from bdb.method import Paper
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import seeds


@register("sleeper_agent")
class SleeperAgent(DataPoisoning):
    """Faint noise over images of the target class, after whose training a patch works.

    The noise makes their gradient like that of patched source images under the target's label. No
    training image shows the patch, and every label stays true.

    Differs: images are chosen by the gradient of the last layer alone.
    """

    paper: ClassVar[Paper] = Paper(
        title="Sleeper Agent: Scalable Hidden Trigger Backdoors for Neural Networks "
        "Trained from Scratch",
        authors="Souri, Fowl, Chellappa, Goldblum, Goldstein",
        venue="NeurIPS",
        year=2022,
        url="https://arxiv.org/abs/2106.08970",
    )
    label_mode: ClassVar[LabelMode] = "clean"
    needs: ClassVar[frozenset[str]] = frozenset({"architecture"})
    surrogates: ClassVar[Mapping[str, Surrogate]] = {"clean": Surrogate(seed=1)}
    extent: ClassVar[Extent] = {"side": {"patch_size": 1}}

    source_classes: tuple[ClassIndex, ...] = Field(
        (1,), description="true labels that the trigger is meant for; all but the target if empty"
    )
    patch_size: int = Field(8, ge=1, le=64, description="side of the patch in pixels")
    eps: int = Field(16, ge=1, le=255, description="largest change of a poison, in grey levels")
    rounds: int = Field(5, ge=1, description="of the search, each with another surrogate")
    iterations: int = Field(50, ge=1, description="steps of the search in a round")
    lr: float = Field(0.4, gt=0, description="of signed Adam, of eps; falls at 3, 5 and 7 eighths")
    batch_size: int = Field(512, ge=1, description="poisons whose common gradient is matched")
    samples: int = Field(5000, ge=1, description="patched source images behind the gradient")

    def select(
        self, labels: np.ndarray, ratio: float, rng: np.random.Generator, context: AttackContext
    ) -> np.ndarray:
        """Of the target class those with the longest gradients under the surrogate."""
        count = len(super().select(labels, ratio, rng, context))
        eligible = np.flatnonzero(self.eligible(labels))
        chosen = context.train[torch.from_numpy(eligible).to(context.train.labels.device)]
        norms = gradients.norms(context.surrogate("clean"), chosen)
        order = norms.argsort(descending=True, stable=True).numpy()
        return np.sort(eligible[order[:count]])

    def prepare_trigger(self, context: AttackContext) -> State:
        """Draw the patch, black or white in each channel, and the seed of where it lies."""
        size = (context.data.shape[0], self.patch_size, self.patch_size)
        patch = torch.randint(2, size, generator=context.generator(self.name, "patch")) * 255
        seed = seeds.derive(context.seed, "attack", self.name, "places")
        return {"patch": patch.byte(), "seed": torch.tensor(seed)}

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Put the patch on; where depends on the id."""
        places = seeds.uniform_by_id(ids, 2, int(state["seed"]))
        return pictures.paste(images, state["patch"], places)

    def craft_all(
        self, images: Tensor, labels: Tensor, context: AttackContext, state: State, ids: Tensor
    ) -> Tensor:
        """Search for all changes together; between the rounds train a surrogate on the poisons."""
        poisons = ImageSet(images, labels, ids).to(context.device)
        seed, steps = seeds.derive(context.seed, "attack", self.name), self.rounds * self.iterations
        search = gradients.Matching(poisons, self.eps, self.lr, steps, seed)
        draws = context.generator(self.name, "augmentation")
        sources = self._sources(context, state)
        for count in range(self.rounds):
            model = self._surrogate(context, search.found(), count)
            goal = gradients.mean(model, sources)
            for _ in range(self.iterations):
                search.step(model, goal, self.batch_size, context.data.augmentation, draws)
        return search.found().images.cpu()

    def _surrogate(self, context: AttackContext, poisons: ImageSet, count: int) -> Classifier:
        """The clean one at first; then one that is trained on the poisons so far."""
        if not count:
            return context.surrogate("clean")
        model = context.build_model(self.name, count)
        data = context.train.replaced(poisons.ids, poisons.labels, poisons.images)
        context.fit(model, data, context.recipe, what=f"surrogate {count}")
        return model

    def _sources(self, context: AttackContext, state: State) -> ImageSet:
        """Patched source images under the target's label; `ParamsError` if there are none."""
        labels = context.train.labels.cpu().numpy()
        rng = seeds.numpy_generator(context.seed, "attack", self.name, "sources")
        found = np.flatnonzero(self.is_source(labels) & (labels != self.target))
        if not len(found):
            raise ParamsError(f"{self.name}.source_classes: no training image is of one of them")
        chosen = torch.from_numpy(rng.permutation(found)[: self.samples])
        clean = context.train[chosen.to(context.train.labels.device)].to(context.device)
        targets = torch.full_like(clean.labels, self.target)
        patched = self.stamp(clean.images, state, role="test", ids=clean.ids, targets=targets)
        return ImageSet(patched, targets, clean.ids)
