from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bdb import params, presets
from bdb.errors import BdbError, ParamsError
from bdb.jobs import catalogue, plan

CATALOGUE = catalogue.load()


def demo(**changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load(presets.text("demo"))
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = raw
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return raw


MISTAKES = [
    ({"gird": {}}, "key 'gird' is not known; did you mean 'grid'?"),
    ({"grid__atack": []}, "key 'grid.atack' is not known; did you mean 'grid.attack'?"),
    ({"grid__attack": ["badnet"]}, "grid.attack: attack 'badnet' is not known; did you mean"),
    ({"grid__poison_ratio": [1.5]}, "grid.poison_ratio.0: 1.5 is not allowed"),
    ({"grid__poison_ratio": [float("nan")]}, "grid.poison_ratio.0: nan is not allowed"),
    ({"grid__poison_ratio": ["0.1"]}, "grid.poison_ratio.0: '0.1' is not allowed"),
    ({"grid__seed": ["a"]}, "grid.seed.0: 'a' is not allowed"),
    ({"grid__seed": [True]}, "grid.seed.0: True is not allowed"),
    ({"grid__seed": [10**30]}, "grid.seed.0: 1000000000000000000000000000000 is not allowed"),
    ({"grid__seed": [0, 0]}, "grid.seed: 0 stands twice"),
    ({"grid__dataset": []}, "grid.dataset: [] is not allowed"),
    ({"grid__model": ["../../etc"]}, "grid.model.0: '../../etc' is not allowed"),
    ({"grid__model": ["зоо"]}, "grid.model.0: 'зоо' is not allowed"),
    ({"attacks__blended": {"alpha": 2}}, "attacks.blended.alpha: 2 is greater than the maximum"),
    ({"attacks__blended": {"alfa": 0.1}}, "attacks.blended: key 'alfa' is not known; did you mean"),
    ({"attacks__bleded": {}}, "attacks: attack 'bleded' is not known; did you mean 'blended'?"),
    ({"attacks__badnets": {"target": 10}}, "attacks.badnets.target: 10 is not a class of digits"),
    ({"training__recipe": "slow"}, "training.recipe 'slow' is not known"),
    ({"training__epochs": 0}, "training: epochs: 0 is not allowed"),
    ({"training__epoch": 3}, "training: key 'epoch' is not known; did you mean 'epochs'?"),
    ({"clean_set__fraction": 0}, "clean_set.fraction: 0 is not allowed: defense 'ft' needs clean"),
    ({"keep_defended_models": "yes"}, "keep_defended_models: 'yes' is not allowed"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_a_mistake_gives_one_line_that_names_it(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError) as error:
        plan.make(params.parse(demo(**changes), CATALOGUE), CATALOGUE)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no keys"),
        ("a: &x 1\nb: *x\n", "line 2 an alias"),
        ("grid: 1\ngrid: 2\n", "'grid' stands twice"),
        ("grid: [\n", "line 2"),
        ("!!python/object:os.system {}\n", "line 1"),
        ("a" * (1 << 20) + "b", "at most 1048576 are read"),
        ("[" * 5000, "params.yaml"),
    ],
)
def test_a_file_that_is_no_parameter_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError) as error:
        params.load(CATALOGUE, path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_binary_rubbish(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="no such file"):
        params.load(CATALOGUE, tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParamsError, match="UTF-8"):
        params.load(CATALOGUE, tmp_path / "params.yaml")


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_valid(name: str) -> None:
    raw = yaml.safe_load(presets.text(name))
    made = plan.make(params.parse(raw, CATALOGUE), CATALOGUE)
    assert made.runs


def test_the_committed_parameters_are_the_demo() -> None:
    committed = Path(__file__).parents[1] / "params.yaml"
    assert committed.read_text() == presets.text("demo")


def test_a_glob_names_every_method_that_matches() -> None:
    settings = params.parse(demo(grid__attack=["none", "b*"]), CATALOGUE)
    assert settings.grid.attack == ("none", *CATALOGUE.names("attack", "b*"))


@pytest.mark.parametrize(("ratio", "text"), [(0.1, "0.1"), (0.005, "0.005"), (1e-5, "0.00001")])
def test_ratios_as_they_stand_in_paths(ratio: float, text: str) -> None:
    assert params.format_ratio(ratio) == text


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["digits", "badnets", "ft", "../x", "*", "0.1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
KEYS = ["grid", "attacks", "defenses", "training", "clean_set", "keep_defended_models", "zzz"]


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from(KEYS), value=values, axis=st.sampled_from(["attack", "seed", "model"]))
def test_whatever_stands_there_is_accepted_or_refused_in_one_line(
    key: str, value: object, axis: str
) -> None:
    for raw in (demo(**{key: value}), demo(**{f"grid__{axis}": value})):
        message = ""
        try:
            plan.make(params.parse(raw, CATALOGUE), CATALOGUE)
        except BdbError as error:
            message = str(error)
        assert len(message.splitlines()) <= 1
