from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml

from bdb import presets
from bdb.metrics import detection
from bdb.testing import Lab

DIGITS = yaml.safe_load(presets.text("digits"))


@pytest.fixture
def auroc() -> Callable[[Lab, str], float]:
    """How well a detector, as the preset of digits has it, tells poison from clean samples."""

    def measure(victim: Lab, defense: str) -> float:
        fields: dict[str, Any] = DIGITS["defenses"].get(defense, {})
        scores = victim.defend(defense, retrain=False, **fields).scores["train"]
        plan, ids = victim.poison.plan, victim.train_set.ids
        judged = ~torch.isin(ids, plan.ids[plan.is_cross])
        truth = victim.is_poison()[judged].numpy()
        return detection.ranking(truth, scores[judged].numpy())["auroc"]

    return measure


@pytest.fixture
def on_digits() -> Callable[[str], dict[str, Any]]:
    """An attack's fields in the preset of digits; lists as tuples, which `lab` can tell apart."""

    def fields(name: str) -> dict[str, Any]:
        found = DIGITS["attacks"].get(name, {})
        return {key: tuple(v) if isinstance(v, list) else v for key, v in found.items()}

    return fields
