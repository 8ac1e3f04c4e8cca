"""What every analysis is: it looks at a run, ground truth included, and draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bdb.attacks.poisoning import Triggered
from bdb.datasets.base import DataSpec, ImageSet
from bdb.errors import RegistryError, UndeclaredNeedError
from bdb.layout import CLEAN_MODEL, Run
from bdb.method import Method
from bdb.models.base import Classifier
from bdb.training import seeds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


Need = Literal["model", "clean_model", "train_set", "test", "triggered", "defended", "cost"]
Scope = Literal["data", "victim", "cell"]
Look = Literal["victim", "clean_model", "defended"]

# What there is to see: of a run's data without any model, of its victim, and under a defense.
_DATA = frozenset({"train_set", "test", "triggered"})
_VICTIM = _DATA | {"model", "clean_model"}
_SEEN: dict[Scope, frozenset[str]] = {
    "data": _DATA,
    "victim": _VICTIM,
    "cell": _VICTIM | {"defended", "cost"},
}


@dataclass(frozen=True)
class Delivered:
    """A training set as the victim was given it, and the truth about it.

    Attributes:
        is_poison: bool, N: which samples carry the trigger and the target's label.
    """

    images: ImageSet
    is_poison: Tensor


@dataclass(frozen=True)
class Cost:
    """How long the jobs of a cell took, in seconds; another run or machine takes another time.

    Attributes:
        training: of the victim.
        defense: with the features that were extracted for it, if it reads them.
    """

    training: float
    defense: float


@dataclass(frozen=True)
class AnalysisView:
    """What an analysis looks at, ground truth included.

    Reading what the analysis did not declare in `needs` raises `UndeclaredNeedError`.

    Attributes:
        given: what there is to see, by need.
        of: the defense of the cell that is looked at, or `CLEAN_MODEL`; None for the victim.
    """

    run: Run
    data: DataSpec
    needs: frozenset[str]
    given: Mapping[str, Any]
    seed: int
    device: torch.device
    of: str | None = None

    @property
    def defense(self) -> str | None:
        """Of the cell that is looked at, if one is."""
        return None if self.of == CLEAN_MODEL else self.of

    @property
    def who(self) -> str:
        """What `model` is, in words, for titles."""
        if "defended" in self.needs or not self.of:
            return "the victim"
        return "the clean model" if self.of == CLEAN_MODEL else f"the victim under {self.of}"

    @property
    def model(self) -> Classifier:
        """The model looked at, in evaluation mode, on the device.

        The victim, unless `of` names another; and always the victim where the tool needs
        `defended` beside it.
        """
        model: Classifier = self._get("model")
        return model

    @property
    def clean_model(self) -> Classifier:
        """The run's clean model, likewise."""
        model: Classifier = self._get("clean_model")
        return model

    @property
    def defended(self) -> Classifier:
        """The victim under the cell's defense, likewise."""
        model: Classifier = self._get("defended")
        return model

    @property
    def train_set(self) -> ImageSet:
        """The victim's training set as delivered: its labels are the given ones."""
        delivered: Delivered = self._get("train_set")
        return delivered.images

    @property
    def is_poison(self) -> Tensor:
        """Which samples of `train_set` are poison: bool, N; the need is the same."""
        delivered: Delivered = self._get("train_set")
        return delivered.is_poison

    @property
    def test(self) -> ImageSet:
        """The clean test set."""
        test: ImageSet = self._get("test")
        return test

    @property
    def triggered(self) -> Triggered:
        """The triggered test images with true labels and targets; `ids` index `test`."""
        triggered: Triggered = self._get("triggered")
        return triggered

    @property
    def cost(self) -> Cost:
        """What the cell cost."""
        cost: Cost = self._get("cost")
        return cost

    def generator(self, *names: object) -> torch.Generator:
        """A generator for the purpose that the names tell."""
        return seeds.generator(self.seed, "analysis", *names)

    def originals(self) -> ImageSet:
        """The clean test images behind the triggered ones, in their order; needs both."""
        return self.test[self.triggered.ids]

    def _get(self, need: Need) -> Any:
        if need not in self.needs:
            raise UndeclaredNeedError(
                f"the analysis read {need!r}, but declares needs = {sorted(self.needs)}"
            )
        return self.given[need]


@dataclass(frozen=True)
class Picture:
    """What an analysis gives back: a figure, and the table behind it."""

    figure: Figure
    table: pd.DataFrame


Subject = Literal["data", "predictions", "features", "neurons", "attribution", "landscape"]


class Analysis(Method):
    """An analysis tool: `run` gives a picture and its table.

    Class variables:
        subject: what it looks at, and the room of the file; set by the classes below, from which
            methods derive.
        scope: what there is a picture of: a run's `data`, without any model; its `victim`; or each
            `cell`, the victim under one defense.
        needs: what it sees; the workflow's inputs follow from it.
        requires: what the model must offer (`features`, `maps`), or there is nothing to look at.

    A tool of victims that needs `model` looks at other models as well, if the field `of` says so:
    at each cell's, at the run's clean model. Then it runs once more, and `view.model` is that one.
    """

    kind: ClassVar[str] = "analysis"
    room: ClassVar[str] = "subject"
    subject: ClassVar[Subject]
    scope: ClassVar[Scope] = "victim"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})
    requires: ClassVar[frozenset[str]] = frozenset()

    of: tuple[Look, ...] = Field(
        ("victim",), min_length=1, description="the models looked at, a picture of each"
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """See that the scope holds what is needed.

        Raises:
            RegistryError: it does not, or is that of a cell whose model is not looked at.
        """
        super().__pydantic_init_subclass__(**kwargs)
        beyond = sorted(cls.needs - _SEEN[cls.scope])
        if beyond:
            raise RegistryError(
                f"{cls.__name__}: needs {beyond[0]!r}, but scope {cls.scope!r} has only "
                f"{', '.join(sorted(_SEEN[cls.scope]))}"
            )
        if cls.scope == "cell" and "defended" not in cls.needs:
            raise RegistryError(f"{cls.__name__}: scope 'cell' without 'defended' in needs")

    def run(self, view: AnalysisView) -> Picture:
        """Look at what `needs` names.

        Raises:
            UndeclaredNeedError: it read more.
        """
        raise NotImplementedError


class OfData(Analysis):
    """Looks at images: the trigger, the poisoned set."""

    subject: ClassVar = "data"


class OfPredictions(Analysis):
    """Looks at what a model answers."""

    subject: ClassVar = "predictions"


class OfFeatures(Analysis):
    """Looks at what a model makes of images, as a whole."""

    subject: ClassVar = "features"


class OfNeurons(Analysis):
    """Looks at single channels and weights."""

    subject: ClassVar = "neurons"


class OfAttribution(Analysis):
    """Looks at where in an image an answer comes from."""

    subject: ClassVar = "attribution"


class OfLandscape(Analysis):
    """Looks at the loss around a model."""

    subject: ClassVar = "landscape"
