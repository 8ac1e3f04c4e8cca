import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from bdb import presets
from bdb.jobs import catalogue, schema
from bdb.method import Frozen
from bdb.params import AXES
from bdb.training.recipes import RECIPES, Recipe

ROOT = Path(__file__).parents[2]
CATALOGUE = catalogue.load()
SCHEMA = schema.make(CATALOGUE)
VALIDATOR = Draft202012Validator(SCHEMA)


def demo(**changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load(presets.text("demo"))
    for path, value in changes.items():
        section, _, key = path.partition("__")
        raw.setdefault(section, {})[key] = value
    return raw


def test_the_committed_schema_is_the_registrys() -> None:
    committed = (ROOT / schema.PATH).read_text(encoding="utf-8")
    same = committed == schema.text(CATALOGUE)
    assert same, f"the methods have changed: run `bdb schema {schema.PATH}`"


def test_it_is_a_schema_and_refers_to_nothing_outside() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert "$ref" not in schema.text(CATALOGUE)


@pytest.mark.parametrize("name", presets.names())
def test_it_accepts_every_preset(name: str) -> None:
    VALIDATOR.validate(yaml.safe_load(presets.text(name)))


@pytest.mark.parametrize(
    "raw",
    [
        demo(grid__attack=["*", "b*", "[bw]*", "stripe"]),
        demo(attacks__stripe={"rows": 2}),
        demo(defenses__anp={"threshold": None}),
        demo(training__lr=1),
        demo() | {"grid": [demo()["grid"], demo(grid__attack=["b*"])["grid"]]},
        demo(validity__min_asr=0.5),
    ],
)
def test_it_accepts_globs_and_methods_of_other_packages(raw: dict[str, Any]) -> None:
    VALIDATOR.validate(raw)


@pytest.mark.parametrize(
    "raw",
    [
        demo(gird__x=1),
        demo(grid__attack=[]),
        demo(grid__attack=["../x"]),
        demo(grid__poison_ratio=[1.5]),
        demo(grid__seed=[-1]),
        demo(attacks__blended={"alpha": 2}),
        demo(attacks__blended={"alfa": 0.1}),
        demo(attacks__stripe=3),
        demo(training__recipe="slow"),
        demo(training__epoch=3),
        demo(clean_set__source="stolen"),
        demo(validity__min_asr=80),
        demo() | {"grid": []},
        demo() | {"grid": [demo(grid__atack=[])["grid"]]},
    ],
)
def test_it_refuses_what_bdb_refuses(raw: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VALIDATOR.validate(raw)


@pytest.mark.parametrize("kind", AXES)
def test_every_field_of_every_method_is_described(kind: str) -> None:
    section = SCHEMA["properties"][AXES[kind]]["properties"]
    assert section.keys() == CATALOGUE.entries[kind].keys()
    for name, entry in CATALOGUE.entries[kind].items():
        assert section[name]["description"].startswith(entry.summary)
        for field, declared in entry.schema["properties"].items():
            described = section[name]["properties"][field]
            assert described == {key: declared[key] for key in declared if key != "title"}


def test_training_has_the_recipes_and_their_values() -> None:
    training = SCHEMA["properties"]["training"]["properties"]
    assert training.keys() == {"recipe", *Recipe.model_fields}
    assert training["recipe"]["enum"] == list(RECIPES)
    epochs = "passes over the data; paper: 100; fast: 14; airbench: 10"
    assert training["epochs"]["description"] == epochs
    assert "default" not in training["epochs"]


def test_nested_models_stand_in_place_and_fields_may_be_called_title() -> None:
    class Inner(Frozen):
        title: int = 0

    class Outer(Frozen):
        inner: Inner = Inner()

    before = Outer.model_json_schema()
    tidied = schema._tidy(copy.deepcopy(before))
    assert tidied["properties"]["inner"]["properties"] == {
        "title": {"default": 0, "type": "integer"}
    }
    assert "$defs" not in tidied
