from collections.abc import Callable
from statistics import mean
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView
from bdb.models.base import Classifier
from bdb.testing import Lab, lab
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

# As in the preset of digits.
STRENGTH: dict[str, Any] = {"lr": 0.05, "rotation": 15, "unlearning_lr": 5e-4, "batch_size": 64}


@pytest.mark.evidence
def test_finds_and_unlearns_a_patch() -> None:
    """Seeds 0, 1, 2: ASR 2, 1, 1 %, and 1 point of C-Acc; all that is flagged is poison."""
    victims = [lab("badnets", 0.1, seed) for seed in range(3)]
    outcomes = [victim.defend("d_br", **STRENGTH) for victim in victims]
    found = [v.is_poison()[o.flagged["train"]] for v, o in zip(victims, outcomes, strict=True)]
    assert min(float(poison.float().mean()) for poison in found) > 0.8
    before = [victim.rates(victim.model) for victim in victims]
    after = [v.rates(o.model) for v, o in zip(victims, outcomes, strict=True) if o.model]
    assert min(success for _, success in before) > 0.9
    assert mean(success for _, success in after) < 0.2
    assert mean(a for a, _ in after) > mean(b for b, _ in before) - 0.06


@pytest.mark.evidence
def test_a_clean_model_forgets_what_is_taken_for_poison() -> None:
    """Seeds 0, 1, 2: 10, 10 and 12 points of C-Acc: something is always taken for poison."""
    victims = [lab("none", 0.0, seed) for seed in range(3)]
    models = [victim.defend("d_br", **STRENGTH).model for victim in victims]
    after = [v.rates(model)[0] for v, model in zip(victims, models, strict=True) if model]
    before = mean(victim.rates(victim.model)[0] for victim in victims)
    assert before - 0.2 < mean(after) < before - 0.03


def test_poison_is_unlearned_and_the_clean_relearned_in_turn(
    badnets: Lab,
    first_row: Classifier,
    batch_of: Callable[..., Batch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, Any] = {}

    def fit(_: DefenderView, model: Classifier, data: Any, recipe: Recipe, **options: Any) -> None:
        if options["what"] == "unlearn":
            seen.update(options, data=data, recipe=recipe, model=model)

    monkeypatch.setattr(DefenderView, "fit", fit)
    outcome = badnets.defend("d_br", unlearning_epochs=3)
    assert seen["recipe"].epochs == 6
    scores, flagged, count = (
        outcome.scores["train"],
        outcome.flagged["train"],
        len(badnets.train_set),
    )
    poison, clean = (seen["data"](epoch) for epoch in (0, 1))
    assert isinstance(poison, ImageSet)
    assert poison.ids.tolist() == flagged.nonzero().flatten().tolist()
    assert (len(poison), len(clean)) == (round(0.05 * count), round(0.2 * count))
    assert scores[poison.ids].min() >= scores[~flagged].max()
    assert scores[clean.ids].max() <= scores.quantile(0.21)
    rows = torch.rand(6, 32, generator=torch.Generator().manual_seed(0))
    for epoch, sign in ((0, -1), (1, 1)):
        batch = batch_of(rows, torch.arange(6), epoch)
        plain = cross_entropy(first_row(batch.images), batch.labels)
        torch.testing.assert_close(seen["step"](first_row, batch), sign * plain)
