"""What every defense is, and the view through which it sees the world: no ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import DataSpec, ImageSet
from bdb.defenses.features import Features, VictimFeatures
from bdb.errors import ParamsError, RegistryError, UndeclaredNeedError
from bdb.method import Method, Trace
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.training import loop, seeds
from bdb.training.recipes import Recipe

Need = Literal["model", "train_set", "clean_set", "inputs", "features"]
Split = Literal["train", "inputs"]
Stage = Literal["pre_training", "in_training", "post_training", "inference", "model_level"]


@dataclass(frozen=True)
class Outcome:
    """What a defense gives back.

    Attributes:
        model: the defended classifier; None leaves the victim as it is.
        scores: per split, float, one per sample, higher is more suspicious.
        flagged: per split, bool, one per sample. Flagged inputs count as rejected.
        verdict: what is said of the model as a whole, as JSON: `backdoored` (bool; left out by a
            method that has no threshold of its own), and if there are any `targets` (suspected
            classes), `score` (higher is more suspicious) and `suspect` (the most suspicious class,
            whether or not that is enough).
        evidence: what was found, by the names that the class declares. Row k is of class k, or one
            row is of all classes: images (K x C x H x W) and masks (K x 1 x H x W), float in
            [0, 1], and numbers (float, K).
    """

    model: Classifier | None = None
    scores: dict[Split, Tensor] = field(default_factory=dict)
    flagged: dict[Split, Tensor] = field(default_factory=dict)
    verdict: dict[str, Any] | None = None
    evidence: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Given:
    """What there is to see: only what the view's defense declared may be set."""

    model: Classifier | None = None
    train_set: ImageSet | None = None
    clean_set: ImageSet | None = None
    inputs: Tensor | None = None
    features: VictimFeatures | None = None


class DefenderView:
    """What a defender has: no flags, no trigger, no target, no test labels.

    The ids of each set count from 0 within it: which sample of one set is which of another, is not
    to be had from them.

    Reading what the defense did not declare in `needs` raises `UndeclaredNeedError`.

    Attributes:
        wants_model: whether a repaired model is asked for. If not, only findings are, and a defense
            may spare itself what comes after them, and give no model.
    """

    def __init__(
        self,
        given: Given,
        needs: Iterable[str],
        *,
        spec: ModelSpec,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        wants_model: bool = True,
    ) -> None:
        self._given = given
        self._needs = frozenset(needs)
        self._copy: Classifier | None = None
        self.spec = spec
        self.recipe = recipe
        self.seed = seed
        self.device = device
        self.wants_model = wants_model

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
        return given.renumbered()

    @property
    def clean_set(self) -> ImageSet:
        """A few clean images with true labels."""
        clean: ImageSet = self._get("clean_set")
        return clean.renumbered()

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
        data: loop.Data,
        recipe: Recipe,
        *,
        what: str = "defend",
        **options: Any,
    ) -> list[loop.EpochRecord]:
        """Train a model in place with the one training loop.

        Args:
            model: on the device.
            data: to train on.
            recipe: schedule and optimiser.
            what: names the purpose, from which the seed follows.
            options: as `bdb.training.loop.fit` takes them; the data set's augmentation by default.
        """
        options.setdefault("augmentation", self.augmentation)
        seed = seeds.derive(self.seed, "fit", what)
        return loop.fit(model, data, recipe, seed=seed, what=what, **options)

    def split_clean(self, share: float) -> tuple[ImageSet, ImageSet]:
        """The clean set in two parts, the second with `share` of it: for honest selection.

        Raises:
            ParamsError: a single image cannot be split.
        """
        clean = self.clean_set
        if len(clean) < 2:
            raise ParamsError(
                f"clean_set: {len(clean)} image cannot be split in two; raise fraction"
            )
        order = torch.randperm(len(clean), generator=self.generator("split_clean"))
        held = min(max(1, round(share * len(clean))), len(clean) - 1)
        order = order.to(clean.labels.device)
        return clean[order[held:].sort().values], clean[order[:held].sort().values]

    def _require(self, need: Need) -> None:
        if need not in self._needs:
            raise UndeclaredNeedError(
                f"the defense read {need!r}, but declares needs = {sorted(self._needs)}"
            )

    def _get(self, need: Need) -> Any:
        self._require(need)
        value = getattr(self._given, need)
        if value is None:
            raise UndeclaredNeedError(f"nothing was given for {need!r}")
        return value


class Defense(Method):
    """A defense or detector.

    Class variables:
        stage: when it acts, and the room of the file; set by the classes below, from which methods
            derive.
        needs: what it sees; the workflow's inputs follow from it.
        requires: what the model must offer (`batch_norm`, `features`, `maps`), or there is nothing
            to act on.
        looks_at: where it expects a backdoor to show: in `features`, `weights` or `inputs`.
        hides: what analyses may require of a model, and the one it leaves does not offer.
        min_classes: fewer than these, and it has nothing to compare.
        judges: whether its outcome has a verdict, of the model as a whole.
        mitigates: False if it only detects, and leaves the victim as it is.
        evidence: names of what it finds and gives back, all of them, on every victim; a file of the
            cell holds them.
        certifies: what its model's `certificates` are measured in, as words for an axis: `poisoned
            training samples`, `l2 radius in pixels`; None if nothing is certified.
    """

    kind: ClassVar[str] = "defense"
    room: ClassVar[str] = "stage"
    stage: ClassVar[Stage]
    needs: ClassVar[frozenset[str]]
    requires: ClassVar[frozenset[str]] = frozenset()
    looks_at: ClassVar[Trace]
    hides: ClassVar[frozenset[str]] = frozenset()
    min_classes: ClassVar[int] = 2
    judges: ClassVar[bool] = False
    mitigates: ClassVar[bool] = True
    evidence: ClassVar[tuple[str, ...]] = ()
    certifies: ClassVar[str | None] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """See that what certifies has a model of its own.

        Raises:
            RegistryError: it has not.
        """
        super().__pydantic_init_subclass__(**kwargs)
        if cls.certifies and not cls.mitigates:
            raise RegistryError(f"{cls.__name__}: certifies {cls.certifies!r}, but gives no model")

    def run(self, view: DefenderView) -> Outcome:
        """Defend.

        Raises:
            UndeclaredNeedError: it read what `needs` does not name.
        """
        raise NotImplementedError


class PreTraining(Defense):
    """Finds or cleanses poisoned training samples, and trains again."""

    stage: ClassVar = "pre_training"
    looks_at: ClassVar[Trace] = "features"

    retrain: bool = Field(
        True, description="whether to train without what was flagged; if not, the suspect stays"
    )


class InTraining(Defense):
    """Trains in another way, on a training set that may be poisoned."""

    stage: ClassVar = "in_training"
    looks_at: ClassVar[Trace] = "features"


class PostTraining(Defense):
    """Repairs a model."""

    stage: ClassVar = "post_training"
    looks_at: ClassVar[Trace] = "weights"


class Inference(Defense):
    """Filters or transforms inputs."""

    stage: ClassVar = "inference"
    looks_at: ClassVar[Trace] = "inputs"


class ModelLevel(Defense):
    """Says of a model whether it is backdoored, and leaves it as it is."""

    stage: ClassVar = "model_level"
    looks_at: ClassVar[Trace] = "weights"
    judges: ClassVar[bool] = True
    mitigates: ClassVar[bool] = False
