from collections.abc import Callable
from statistics import mean
from typing import Any

import pytest
import torch
from torch import Tensor

from bdb.datasets import corruptions
from bdb.defenses.inference.teco import CorruptionConsistency
from bdb.testing import Lab, lab


@pytest.mark.evidence
def test_detects_a_patch(detect: Callable[..., Any]) -> None:
    """AUROC .96, .91, .96."""
    found = [detect(lab("badnets", 0.1, seed), "teco") for seed in range(3)]
    assert mean(each.auroc for each in found) > 0.87
    assert mean(each.tpr for each in found) > 0.5
    assert mean(each.fpr for each in found) < 0.12


@pytest.mark.evidence
def test_a_pattern_over_the_whole_image_withstands_all(detect: Callable[..., Any]) -> None:
    """On digits the triggered are the ones that score low: AUROC .03."""
    assert detect(lab("lf"), "teco").auroc < 0.3


@pytest.mark.evidence
def test_tells_nothing_of_clean_models(detect: Callable[..., Any]) -> None:
    """AUROC .54, .49, .48."""
    found = [detect(lab("none", 0.0, seed), "teco") for seed in range(3)]
    assert mean(each.auroc for each in found) == pytest.approx(0.5, abs=0.08)
    assert mean(each.fpr for each in found) < 0.12


def test_the_score_is_the_spread_of_the_severities(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    severities = {name: 1.0 + number % 6 for number, name in enumerate(corruptions.CORRUPTIONS)}

    def turn(_self: Any, _view: Any, batch: Tensor, _own: Tensor, name: str, _: Tensor) -> Tensor:
        return torch.full((len(batch),), severities[name])

    monkeypatch.setattr(CorruptionConsistency, "turn", turn)
    defense = CorruptionConsistency()
    score = defense.scorer(badnets.view(defense), badnets.clean_set)
    expected = torch.tensor(list(severities.values())).std()
    torch.testing.assert_close(score(badnets.test.images[:2]), expected.expand(2))


def test_corruptions_do_not_accumulate(badnets: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each severity is tried on the original; the least that changes the prediction counts."""
    defense = CorruptionConsistency()
    view = badnets.view(defense)
    original = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []

    def corrupt(images: Tensor, _name: str, severity: int, _draws: Tensor) -> Tensor:
        seen.append(images)
        first = torch.tensor([0, 3, 9])  # the severity that turns each image
        turned = (severity >= first) & (severity != 4)  # What turns back later has turned.
        return torch.where(turned[:, None, None, None], 1.0, 0.0).expand_as(images)

    class Bright(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            white = (images == 1).flatten(1).all(1).float()
            return torch.stack([1 - white, white], 1)

    monkeypatch.setattr(corruptions, "corrupt", corrupt)
    view._copy = Bright()  # type: ignore[assignment]
    own = torch.zeros(3, dtype=torch.long)
    found = defense.turn(view, original, own, "fog", torch.zeros(3))
    assert found.tolist() == [1, 4, 6]
    assert all(images is original for images in seen)
    assert len(seen) == 5


def test_no_score_depends_on_the_other_inputs(
    badnets: Lab, check_each_alone: Callable[..., None]
) -> None:
    check_each_alone(badnets, CorruptionConsistency(severities=2))
