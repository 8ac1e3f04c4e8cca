from dataclasses import replace

import pytest
import torch

from bdb.analyses.base import AnalysisView, Cost
from bdb.analyses.predictions.radar import Radar
from bdb.attacks.poisoning import Triggered
from bdb.datasets.base import ImageSet
from bdb.testing import lab


class Scripted(torch.nn.Module):
    """Answers what the first pixel of an image says, or one class always."""

    def __init__(self, always: int | None = None) -> None:
        super().__init__()
        self.always = always
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answers = (images[:, 0, 0, 0] * 255).round().long()
        if self.always is not None:
            answers = torch.full_like(answers, self.always)
        return torch.nn.functional.one_hot(answers, 10).float()


def saying(answers: list[int]) -> torch.Tensor:
    images = torch.zeros(len(answers), 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor(answers, dtype=torch.uint8)
    return images


def view_of(victim: torch.nn.Module, defended: torch.nn.Module) -> AnalysisView:
    labels = torch.tensor([1, 2, 3, 4, 5])
    stamped = Triggered(
        images=saying([0, 0, 0, 4, 0]),  # three of the four that count are fooled
        ids=torch.arange(5),
        labels=labels,
        targets=torch.zeros(5, dtype=torch.int64),
        is_source=torch.tensor([True, True, True, True, False]),
    )
    given = {
        "model": victim,
        "defended": defended,
        "test": ImageSet.whole(saying([1, 2, 3, 4, 9]), labels),
        "triggered": stamped,
        "cost": Cost(training=30.0, defense=10.0),
    }
    return replace(lab("badnets").analyst_view(Radar.needs), given=given)


def test_rates_by_hand() -> None:
    """The victim does what pixels say; the other knows class 3 alone."""
    table = Radar().run(view_of(Scripted(), Scripted(3))).table.set_index("model")
    before, after = table.loc["no defense"], table.loc["defended"]
    assert before[["c_acc", "asr", "ra", "der"]].tolist() == pytest.approx([0.8, 0.75, 0.25, 0.5])
    expected = [0.2, 0.0, 0.25, (0.75 - 0.6 + 1) / 2]
    assert after[["c_acc", "asr", "ra", "der"]].tolist() == pytest.approx(expected)
    assert before[["seconds", "thrift"]].tolist() == [0, 1]
    assert after[["seconds", "training_seconds", "thrift"]].tolist() == [10, 30, 0.75]


def test_a_defense_that_works_reaches_further_out() -> None:
    victim = lab("badnets")
    view = victim.analyst_view(Radar.needs)
    tuned = victim.defend("ft", epochs=40, batch_size=32, lr=0.2).model
    table = Radar().run(replace(view, given={**view.given, "defended": tuned})).table
    table = table.set_index("model")
    assert table.loc["no defense", "asr"] > 0.9
    assert table.loc["defended", "asr"] < 0.2
    assert table.loc["defended", "der"] > 0.8
    assert table.loc["defended", "ra"] > table.loc["no defense", "ra"] + 0.5


def test_the_picture_says_what_the_table_says() -> None:
    picture = Radar().run(view_of(Scripted(), Scripted(3)))
    said = [label.get_text() for label in picture.figure.axes[0].get_xticklabels()]
    assert said[0] == "C-Acc\n80.0% → 20.0%"
    assert said[1] == "1 - ASR\n25.0% → 100.0%"
    assert "took 10 s, the victim 30 s" in picture.figure.get_supxlabel().replace("\n", " ")
