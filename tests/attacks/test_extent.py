from typing import Any

import pytest
import torch

from bdb import registry
from bdb.attacks import victims
from bdb.attacks.base import Attack, AttackContext
from bdb.attacks.extent import misfit
from bdb.datasets.base import ImageSet
from bdb.errors import ParamsError
from bdb.testing import make_context

PATCH = {"side": {"patch_size": 1.0, "margin": 1.0}}
# For every geometric field a value that is too large for images of 32 x 32.
TOO_LARGE = [
    ("badnets", {"margin": 40}, "margin"),
    ("badnets", {"patch_size": 33}, "patch_size"),
    ("sig", {"frequency": 16}, "frequency"),
    ("lf", {"sigma": 9}, "sigma"),
    ("wanet", {"control_points": 33}, "control_points"),
]


def context_of(height: int, width: int) -> AttackContext:
    context, _ = make_context(size=100)
    images = torch.zeros(100, 3, height, width, dtype=torch.uint8)
    train = ImageSet.whole(images, context.train.labels)
    data = context.data.model_copy(update={"shape": (3, height, width)})
    return AttackContext(**{**context.__dict__, "data": data, "train": train})


def planned(name: str, fields: dict[str, Any], context: AttackContext) -> None:
    attack = registry.get("attack", name).make(**fields)
    assert isinstance(attack, Attack)
    victims.planned(attack, 0.05, context)


def test_a_patch_must_fit_with_its_margin() -> None:
    assert misfit(PATCH, {"patch_size": 3, "margin": 29}, 32, 40) is None
    assert misfit(PATCH, {"patch_size": 3, "margin": 30}, 32, 40) == (
        "margin + patch_size: 30 + 3 needs images of 33 pixels a side, but these are 32 x 40"
    )


def test_waves_run_along_the_width_alone() -> None:
    extent = {"width": {"frequency": 2.5}}
    assert misfit(extent, {"frequency": 6}, 4, 15) is None
    assert misfit(extent, {"frequency": 6}, 15, 4) is not None


@pytest.mark.parametrize(("name", "fields", "field"), TOO_LARGE)
def test_a_trigger_that_does_not_fit_is_refused(
    name: str, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(ParamsError, match=rf"^{name}\..*{field}.*but these are 32 x 32$"):
        planned(name, fields, context_of(32, 32))


@pytest.mark.parametrize("name", registry.names("attack"))
def test_every_geometric_field_is_a_field(name: str) -> None:
    cls = registry.get("attack", name)
    extent = cls.extent  # type: ignore[attr-defined]
    assert {field for factors in extent.values() for field in factors} <= set(cls.model_fields)
