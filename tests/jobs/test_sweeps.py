"""Instances with `vary`: half and twice of every number among their fields."""

from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from bdb import params, presets
from bdb.errors import ParamsError
from bdb.jobs import catalogue, plan, schema

CATALOGUE = catalogue.load()


def raw(fields: dict[str, Any], **grid: Any) -> dict[str, Any]:
    given = yaml.safe_load(presets.text("smoke"))
    given["grid"] |= {"defense": ["around", "ac"], "analysis": []} | grid
    return given | {"defenses": {"around": fields}}


def values(fields: dict[str, Any]) -> dict[str, float]:
    settings = params.parse(raw(fields), CATALOGUE)
    return {each.name.removeprefix("around__"): each.value for each in settings.variations}


def test_each_number_is_halved_and_doubled_around_what_the_instance_says() -> None:
    assert values({"method": "ft", "epochs": 5, "vary": "all"}) == {
        "batch_size_half": 128,
        "batch_size_twice": 512,
        "epochs_half": 2,
        "epochs_twice": 10,
        "lr_half": 0.005,
        "lr_twice": 0.02,
    }


def test_what_leaves_its_range_is_no_variation_and_switches_and_nulls_are_none() -> None:
    found = values({"method": "anp", "alpha": 0.8, "threshold": None, "vary": "all"})
    assert "alpha_half" in found
    assert "alpha_twice" not in found  # at most 1
    assert not any(name.startswith(("clamp", "threshold")) for name in found)


def test_chosen_fields_alone_are_varied() -> None:
    assert set(values({"method": "ft", "vary": ["lr"]})) == {"lr_half", "lr_twice"}


def test_variations_stand_on_the_grid_beside_their_sweep_and_are_planned() -> None:
    given = raw({"method": "ft", "vary": ["lr"]})
    settings = params.parse(given, CATALOGUE)
    names = ["around", "around__lr_half", "around__lr_twice", "ac"]
    assert list(settings.axis("defense")) == names
    assert [name for _, name in plan.make(settings, CATALOGUE).cells] == names
    assert settings.make("defense", "around__lr_half").lr == 0.005  # type: ignore[attr-defined]
    assert settings.literal("defenses.around__lr_half.lr") == 0.005
    assert given["grid"]["defense"] == ["around", "ac"]  # what was read stays


def test_attacks_are_swept_as_well() -> None:
    given = raw({"method": "ft"}, attack=["strong"])
    given["attacks"] = {"strong": {"method": "blended", "vary": ["alpha"]}}
    runs = plan.make(params.parse(given, CATALOGUE), CATALOGUE).runs
    assert [run.attack for run in runs] == ["strong", "strong__alpha_half", "strong__alpha_twice"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vary": "all"}, "defenses.around.vary: 'around' is no instance; name its method"),
        ({"method": "ft", "vary": "lr"}, "defenses.around.vary: 'lr' is not allowed: 'all', or"),
        ({"method": "ft", "vary": []}, r"vary: \[\] is not allowed"),
        ({"method": "ft", "vary": ["lrr"]}, "vary: number 'lrr' is not known; did you mean 'lr'"),
        ({"method": "fft", "vary": "all"}, "around.method: defense 'fft' is not known"),
    ],
)
def test_a_mistake_is_named_with_its_key(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        params.parse(raw(fields), CATALOGUE)


def test_the_schema_lets_a_sweep_through() -> None:
    validator = Draft202012Validator(schema.make(CATALOGUE))
    assert validator.is_valid(raw({"method": "ft", "vary": "all"}))
    assert not validator.is_valid(raw({"method": "ft", "vary": "some"}))
