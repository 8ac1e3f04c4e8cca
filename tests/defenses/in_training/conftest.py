from collections.abc import Callable
from dataclasses import replace
from functools import cache
from statistics import mean
from typing import Any

import pytest
import torch
from torch.nn.functional import avg_pool2d

from bdb import registry
from bdb.attacks.base import Attack
from bdb.datasets.base import ImageSet
from bdb.testing import Lab, digits, make_context, make_lab

# As in the preset of digits.
FIELDS: dict[str, dict[str, Any]] = {"wanet": {"strength": 2.0, "noise": 4.0}}


def halved(data: ImageSet) -> ImageSet:
    images = avg_pool2d(data.images.float(), 2).round().to(torch.uint8)
    return replace(data, images=images.contiguous(memory_format=torch.channels_last))


@cache
def small_lab(attack: str, seed: int = 0) -> Lab:
    """A victim on digits of 16 pixels: what trains for long is four times as fast on these."""
    made = registry.get("attack", attack).make(**FIELDS.get(attack, {}))
    assert isinstance(made, Attack)
    context, clean = make_context(seed)
    data = context.data.model_copy(update={"shape": (3, 16, 16)})
    assert context.spec is not None
    context = replace(
        context,
        data=data,
        train=halved(context.train),
        spec=context.spec.model_copy(update={"data": data}),
        load_clean_model=lambda: small_lab("none", seed).model,
    )
    return make_lab(
        made, 0.1 if made.poisons else 0.0, context, halved(clean), halved(digits().test)
    )


Rates = tuple[tuple[float, float], tuple[float, float]]


@pytest.fixture(scope="session")
def over_seeds() -> Callable[..., Rates]:
    """Mean clean accuracy and ASR over three seeds, before a defense and after it."""

    def rates(defense: str, attack: str, **fields: Any) -> Rates:
        victims = [small_lab(attack, seed) for seed in range(3)]
        before, after = [], []
        for victim in victims:
            defended = victim.defend(defense, **fields).model
            assert defended is not None
            before.append(victim.rates(victim.model))
            after.append(victim.rates(defended))
        return tuple(tuple(map(mean, zip(*part, strict=True))) for part in (before, after))  # type: ignore[return-value]

    return rates
