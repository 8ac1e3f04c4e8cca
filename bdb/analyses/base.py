"""What every analysis is: it looks at a victim, ground truth included, and draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from bdb.attacks.poisoning import Triggered
from bdb.datasets.base import DataSpec, ImageSet
from bdb.layout import Run
from bdb.method import Method
from bdb.models.base import Classifier
from bdb.training import seeds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class AnalysisView:
    """A victim and its data.

    Attributes:
        model: the victim, in evaluation mode, on the device.
        test: the clean test set.
        triggered: the triggered test images with true labels and targets; `ids` index `test`.
    """

    run: Run
    data: DataSpec
    model: Classifier
    test: ImageSet
    triggered: Triggered
    seed: int
    device: torch.device

    def generator(self, *names: object) -> torch.Generator:
        """A generator for the purpose that the names tell."""
        return seeds.generator(self.seed, "analysis", *names)

    def originals(self) -> ImageSet:
        """The clean test images behind the triggered ones, in their order."""
        return self.test[self.triggered.ids]


@dataclass(frozen=True)
class Picture:
    """What an analysis gives back: a figure, and the table behind it."""

    figure: Figure
    table: pd.DataFrame


class Analysis(Method):
    """An analysis tool: `run` gives a picture and its table."""

    kind: ClassVar[str] = "analysis"

    def run(self, view: AnalysisView) -> Picture:
        """Look at a victim."""
        raise NotImplementedError
