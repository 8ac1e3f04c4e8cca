"""What every defense is, and the view through which it sees the world: no ground truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import DataSpec, ImageSet
from bdb.defenses.features import Features, VictimFeatures
from bdb.method import Method
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.training import loop, seeds
from bdb.training.recipes import Recipe

Need = Literal["model", "train_set", "clean_set", "inputs", "features"]
Split = Literal["train", "inputs"]


class UndeclaredNeedError(Exception):
    """A defense read what its class variable `needs` does not name."""


@dataclass(frozen=True)
class Outcome:
    """What a defense gives back.

    Attributes:
        model: the defended classifier; None leaves the victim as it is.
        scores: per split, float, one per sample, higher is more suspicious.
        flagged: per split, bool, one per sample. Flagged inputs count as rejected.
        verdict: what is said of the model as a whole, as JSON: `backdoored` (bool), and if there
            are any `targets` (suspected classes) and `score` (higher is more suspicious).
    """

    model: Classifier | None = None
    scores: dict[Split, Tensor] = field(default_factory=dict)
    flagged: dict[Split, Tensor] = field(default_factory=dict)
    verdict: dict[str, Any] | None = None


@dataclass(frozen=True)
class Evidence:
    """What there is to see: only what the view's defense declared may be set."""

    model: Classifier | None = None
    train_set: ImageSet | None = None
    clean_set: ImageSet | None = None
    inputs: Tensor | None = None
    features: VictimFeatures | None = None


class DefenderView:
    """What a defender has: no flags, no trigger, no target, no test labels.

    Reading what the defense did not declare in `needs` raises `UndeclaredNeedError`.
    """

    def __init__(
        self,
        evidence: Evidence,
        needs: Iterable[str],
        *,
        spec: ModelSpec,
        recipe: Recipe,
        seed: int,
        device: torch.device,
    ) -> None:
        self._evidence = evidence
        self._needs = frozenset(needs)
        self._copy: Classifier | None = None
        self.spec = spec
        self.recipe = recipe
        self.seed = seed
        self.device = device

    @property
    def model(self) -> Classifier:
        """The suspect model: the defender's own copy, in evaluation mode, on the device."""
        if self._copy is None:
            self._copy = models.duplicate(self._get("model")).to(self.device).eval()
        return self._copy

    @property
    def train_set(self) -> ImageSet:
        """The training set as delivered: its labels are the given ones."""
        given: ImageSet = self._get("train_set")
        return given

    @property
    def clean_set(self) -> ImageSet:
        """A few clean images with true labels."""
        clean: ImageSet = self._get("clean_set")
        return clean

    @property
    def inputs(self) -> Tensor:
        """Images that arrive at test time, in no order: uint8, N x C x H x W."""
        inputs: Tensor = self._get("inputs")
        return inputs

    @property
    def features(self) -> Features:
        """What the suspect makes of `train_set`, extracted once for all defenses."""
        found: VictimFeatures = self._get("features")
        return found.train

    @property
    def clean_features(self) -> Features:
        """What it makes of `clean_set`; only with both `features` and `clean_set` in `needs`."""
        self._require("clean_set")
        found: VictimFeatures = self._get("features")
        return found.clean

    @property
    def data(self) -> DataSpec:
        """Classes, image shape, statistics."""
        return self.spec.data

    @property
    def augmentation(self) -> Augmentation:
        """How this data set is augmented in training."""
        return self.data.augmentation

    def generator(self, *names: object) -> torch.Generator:
        """A generator for the purpose that the names tell."""
        return seeds.generator(self.seed, *names)

    def rng(self, *names: object) -> np.random.Generator:
        """The same for NumPy."""
        return seeds.numpy_generator(self.seed, *names)

    def build_model(self, *names: object) -> Classifier:
        """A fresh model of the suspect's architecture, on the device."""
        fresh = self.spec.model_copy(update={"wrappers": ()})
        return models.build(fresh, seeds.derive(self.seed, "build", *names)).to(self.device)

    def fit(
        self,
        model: nn.Module,
        data: ImageSet,
        recipe: Recipe,
        *,
        step: loop.Step = loop.cross_entropy,
        parameters: Iterable[nn.Parameter] | None = None,
        epoch_end: loop.EpochEnd | None = None,
        train_mode: bool = True,
        what: str = "defend",
    ) -> list[loop.EpochRecord]:
        """Train a model in place with the one training loop and the data set's augmentation."""
        return loop.fit(
            model,
            data,
            recipe,
            seed=seeds.derive(self.seed, "fit", what),
            step=step,
            augmentation=self.augmentation,
            parameters=parameters,
            epoch_end=epoch_end,
            train_mode=train_mode,
            what=what,
        )

    def split_clean(self, share: float) -> tuple[ImageSet, ImageSet]:
        """The clean set in two parts, the second with `share` of it: for honest selection."""
        clean = self.clean_set
        order = torch.randperm(len(clean), generator=self.generator("split_clean"))
        held = max(1, round(share * len(clean)))
        order = order.to(clean.labels.device)
        return clean[order[held:].sort().values], clean[order[:held].sort().values]

    def _require(self, need: Need) -> None:
        if need not in self._needs:
            raise UndeclaredNeedError(
                f"the defense read {need!r}, but declares needs = {sorted(self._needs)}"
            )

    def _get(self, need: Need) -> Any:
        self._require(need)
        value = getattr(self._evidence, need)
        if value is None:
            raise UndeclaredNeedError(f"nothing was given for {need!r}")
        return value


class Defense(Method):
    """A defense or detector.

    Class variables:
        stage: when it acts: `pre-training` cleans the training set and retrains, `in-training`
            trains in another way, `post-training` repairs a model, `inference` filters inputs.
        needs: what it sees; the workflow's inputs follow from it.
        mitigates: False if it only detects, and leaves the victim as it is.
    """

    kind: ClassVar[str] = "defense"
    stage: ClassVar[Literal["pre-training", "in-training", "post-training", "inference"]]
    needs: ClassVar[frozenset[str]]
    mitigates: ClassVar[bool] = True

    def run(self, view: DefenderView) -> Outcome:
        """Defend.

        Raises:
            UndeclaredNeedError: it read what `needs` does not name.
        """
        raise NotImplementedError
