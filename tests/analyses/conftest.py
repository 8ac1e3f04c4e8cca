from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bdb.analyses.base import AnalysisView
from bdb.attacks.poisoning import Triggered
from bdb.datasets.base import DataSpec, ImageSet
from bdb.layout import Run
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import CPU, lab

ViewOf = Callable[[str], AnalysisView]


@pytest.fixture
def view_of() -> ViewOf:
    """The view of a small real victim."""

    def make(attack: str) -> AnalysisView:
        victim = lab(attack, 0.0 if attack == "none" else 0.1)
        return victim.analyst_view(frozenset({"model", "test", "triggered"}))

    return make


class Plain(Classifier):
    """Channels red, green and their difference; class 0 answers to green, class 1 to red."""

    attention_layers = ("maps",)

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.maps = nn.Conv2d(3, 3, 1, bias=False)
        self.maps.weight.data[:, :, 0, 0] = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, -1, 0]])
        self.head = nn.Linear(3, 2)
        self.head.weight.data = torch.tensor([[0.0, 4, 0], [1, 0, 0]])
        self.head.bias.data.zero_()

    def extract(self, normalized: Tensor) -> Tensor:
        """The channels' means."""
        return self.maps(normalized).mean((2, 3))


@pytest.fixture
def plain() -> AnalysisView:
    """A view small enough to reckon by hand: image i is of red 10 i, and of no other colour.

    Classes alternate; the trigger, for class 0, sets the green of a quarter of the pixels to 255.
    """
    images = torch.zeros(12, 3, 4, 4, dtype=torch.uint8)
    images[:, 0] = 10 * torch.arange(12, dtype=torch.uint8)[:, None, None]
    test = ImageSet.whole(images, torch.arange(12) % 2)
    stamped = images[1::2].clone()
    stamped[:, 1, :2, :2] = 255
    ones = torch.ones(6, dtype=torch.int64)
    triggered = Triggered(stamped, test.ids[1::2], ones, 0 * ones, ones.bool())
    data = DataSpec(
        dataset="plain", classes=("even", "odd"), shape=(3, 4, 4), mean=(0,) * 3, std=(1,) * 3
    )
    model = Plain(data).eval()
    model.spec = ModelSpec(architecture="plain", data=data)
    given = {"model": model, "test": test, "triggered": triggered}
    run = Run("plain", "plain", "badnets", "0.1", 0)
    return AnalysisView(run, data, frozenset(given), given, seed=0, device=CPU)
