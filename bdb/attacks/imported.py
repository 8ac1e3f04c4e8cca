"""A victim that was made elsewhere, with what came with it, as `bdb import` converted it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from bdb import artifacts, layout, registry
from bdb.attacks import poisoning
from bdb.attacks.base import Attack, AttackContext
from bdb.attacks.poisoning import Poison
from bdb.datasets.base import ImageSet
from bdb.errors import ParamsError
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.registry import register

TRAINED = "trained"  # Of the state: the ids of all images that the victim was trained on.


@register("imported")
class Imported(Attack):
    """A victim of any attack that was made elsewhere; `bdb import` says what to write of it.

    Its instances stand on the grid as attacks do. What it lacks leaves out the cells that need it.
    """

    means: ClassVar = "brought"
    brought: ClassVar[bool] = True
    uses_ratio: ClassVar[bool] = False

    path: str = Field("", description="the folder that `bdb import` wrote")
    of: str = Field("", description="the grid's data set and model, as in digits/convnet")
    source: str = Field("", description="the SHA-256 of the file it comes from begins so")
    lacks: tuple[Literal["train_set", "triggered"], ...] = Field(
        (), description="what did not come with it: the training set, triggered test images"
    )
    reserved_by: int | None = Field(
        None,
        ge=0,
        description="seed whose clean set it did not see; null: it saw every image",
    )

    def poison(self, context: AttackContext, test: ImageSet) -> Poison:
        """What came with the victim, seen to be of these data.

        Raises:
            ParamsError: the folder holds another source, or the victim was trained on other images.
            ArtifactError: it is missing or damaged.
        """
        self.manifest()
        found = poisoning.load(self._files.poison)
        trained, ids = found.state[TRAINED], context.train.ids.cpu()
        if len(trained) and not torch.equal(trained, ids):
            raise ParamsError(
                f"{self.path}: the victim was trained on {len(trained)} images, which are not the "
                f"{len(ids)} that clean_set and the seed leave for training"
            )
        shown = found.test
        known = int(shown.ids.max()) < len(test) if len(shown.ids) else True
        if not known or not torch.equal(test.labels.cpu()[shown.ids], shown.labels):
            raise ParamsError(f"{self.path}: its triggered images are not of this test set")
        return replace(found, state={})

    def victim(self, spec: ModelSpec, device: torch.device) -> Classifier:
        """The model, in evaluation mode, on the device.

        Args:
            spec: what the grid's model is built from.
            device: to put it on.

        Raises:
            ParamsError: that is another network.
            ArtifactError: the file is missing or damaged.
        """
        self.manifest()
        model = models.load(self._files.model, device)
        here, there = _plain(spec), _plain(model.spec)
        if here != there:
            raise ParamsError(f"{self.path}: a model of {there}, and the grid's is {here}")
        return model

    def manifest(self) -> dict[str, Any]:
        """What `bdb import` noted.

        Raises:
            ParamsError: it is of another source than `source` says.
        """
        path = self._files.manifest
        noted: dict[str, Any] = artifacts.read_json(path)
        if not str(noted.get("sha256", "")).startswith(self.source):
            raise ParamsError(f"{path}: imported from another file than source {self.source} says")
        return noted

    @property
    def _files(self) -> layout.Imported:
        return layout.Imported.within(Path(self.path))


def _plain(spec: ModelSpec) -> dict[str, Any]:
    """An architecture with all of its fields."""
    fields = registry.get("model", spec.architecture).make(**spec.fields).model_dump()
    return {"architecture": spec.architecture, **fields, "shape": list(spec.data.shape)}
