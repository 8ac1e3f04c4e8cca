import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bdb import layout, params, plain, presets
from bdb.errors import BdbError, ParamsError
from bdb.jobs import catalogue, plan, schema
from bdb.jobs.jobs import Jobs

CATALOGUE = catalogue.load()
SCHEMA = Draft202012Validator(schema.make(CATALOGUE))


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
    ({"grid__poison_ratio": {"sig": [1.5]}}, "grid.poison_ratio.sig.0: 1.5 is not allowed"),
    ({"grid__poison_ratio": {"sig": []}}, "grid.poison_ratio.sig: [] is not allowed"),
    ({"grid__poison_ratio": {"*": [0.1], "sgi": [0.1]}}, "poison_ratio: attack 'sgi' is not known"),
    ({"grid__poison_ratio": {"sig": [0.1]}}, "poison_ratio: has none for badnets; add 'badnets'"),
    ({"grid__poison_ratio": {"*": [0.1, 0.1]}}, "grid.poison_ratio: 0.1 stands twice"),
    ({"grid__poison_ratio": 0.1}, "grid.poison_ratio: 0.1 is not allowed: it should be a list"),
    ({"datasets__digits": {"train_share": 0}}, "datasets.digits.train_share: 0 is"),
    ({"grid__seed": ["a"]}, "grid.seed.0: 'a' is not allowed"),
    ({"grid__seed": [True]}, "grid.seed.0: True is not allowed"),
    ({"grid__seed": [10**30]}, "grid.seed.0: 1000000000000000000000000000000 is not allowed"),
    ({"grid__seed": [0, 0]}, "grid.seed: 0 stands twice"),
    ({"grid__dataset": []}, "grid.dataset: [] is not allowed"),
    ({"grid__model": ["../../etc"]}, "grid.model.0: '../../etc' is not allowed"),
    ({"grid__model": ["зоо"]}, "grid.model.0: 'зоо' is not allowed"),
    ({"grid__poison_ratio": [1e-300]}, "grid.poison_ratio.0: 1e-300 is not allowed"),
    ({"grid__seed": [2**63]}, "grid.seed.0: 9223372036854775808 is not allowed"),
    ({"grid__seed": list(range(9999))}, "grid: 599940 jobs are more than the 250000"),
    ({"grid__attack": "badnets"}, "grid.attack: 'badnets' is not allowed: it should be a list"),
    ({"attacks": None}, "attacks: None is not allowed: it should be a mapping"),
    ({"attacks__blended": {"alpha": float("nan")}}, "attacks.blended.alpha: nan is not allowed"),
    ({"attacks__blended": {"alpha": "1e-1"}}, "is not of type 'number'; YAML needs 1.0e-1"),
    ({"attacks__blended": {"alpha": "x" * 999}}, "blended.alpha: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ({"attacks__../x": {}}, "attacks: attack '../x' is not known"),
    ({"defenses__ft": {"lr": float("inf")}}, "defenses.ft.lr: inf is not allowed"),
    ({"datasets__folder": {"path": "a\0b"}}, "path: 'a\\x00b' is not allowed: it has control"),
    ({"datasets__folder": {"path": "\ud800"}}, "is not allowed: it has control characters"),
    ({"datasets__folder": {"path": "x" * 5000}}, "longer than 4096 characters"),
    ({"datasets__folder": {"path": "~nobody-x/y"}}, "datasets.folder.path: '~nobody-x/y' begins"),
    ({"training__lr": "1e-3"}, "training: lr: '1e-3' is not allowed"),
    ({"training__nesterov": "yes"}, "training: nesterov: 'yes' is not allowed"),
    ({"a\nb": 1}, "key 'a\\nb' is no name"),
    ({"attacks__blended": {"alpha": 2}}, "attacks.blended.alpha: 2 is greater than the maximum"),
    ({"attacks__blended": {"alfa": 0.1}}, "attacks.blended: key 'alfa' is not known; did you mean"),
    ({"attacks__bleded": {}}, "attacks: attack 'bleded' is not known; did you mean 'blended'?"),
    ({"attacks__badnets": {"target": 10}}, "attacks.badnets.target: 10 is not a class of digits"),
    ({"training__recipe": "slow"}, "training.recipe 'slow' is not known"),
    ({"training__epochs": 0}, "training: epochs: 0 is not allowed"),
    ({"training__epoch": 3}, "training: key 'epoch' is not known; did you mean 'epochs'?"),
    ({"clean_set__fraction": 0}, "clean_set.fraction: 0 is not allowed: defense 'ft' needs clean"),
    ({"validity__min_asr": 80}, "validity.min_asr: 80 is not allowed"),
    ({"validity__max_loss": 0.1}, "key 'validity.max_loss' is not known; did you mean"),
    ({"keep_defended_models": "yes"}, "keep_defended_models: 'yes' is not allowed"),
]


# A second product, and how a mistake in it is told.
MISTAKES_OF_A_PRODUCT = [
    ({"atack": []}, "key 'grid.1.atack' is not known; did you mean 'grid.1.attack'?"),
    ({"attack": ["badnet"]}, "grid.1.attack: attack 'badnet' is not known; did you mean"),
    ({"attack": []}, "grid.1.attack: [] is not allowed"),
    ({"poison_ratio": {"sig": [1.5]}}, "grid.1.poison_ratio.sig.0: 1.5 is not allowed"),
    ({"poison_ratio": {"sig": [0.1]}}, "grid.1.poison_ratio: has none for badnets"),
    ({"seed": [0, 0]}, "grid.1.seed: 0 stands twice"),
    ({"seed": list(range(4166))}, "grid.1: 250020 jobs are more than the 250000"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES_OF_A_PRODUCT)
def test_a_mistake_in_one_of_several_products_names_the_product(
    change: dict[str, Any], message: str
) -> None:
    first = demo()["grid"]
    with pytest.raises(ParamsError) as error:
        params.parse(demo(grid=[first, first | change]), CATALOGUE)
    assert f"params.yaml: {message}" in str(error.value)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([], "grid: [] is not allowed"),
        ([1], "grid.0: 1 is not allowed: it should be a mapping"),
        ("*", "grid: '*' is not allowed: it should be a mapping"),
    ],
)
def test_a_grid_is_a_product_or_a_list_of_them(grid: Any, message: str) -> None:
    with pytest.raises(ParamsError) as error:
        params.parse(demo(grid=grid), CATALOGUE)
    assert message in str(error.value)


def test_an_attack_has_failed_below_80_percent_or_above_3_points_unless_said_otherwise() -> None:
    assert params.parse(demo(), CATALOGUE).validity == params.Validity()
    assert (params.Validity().min_asr, params.Validity().max_c_acc_loss) == (0.8, 0.03)
    given = params.parse(demo(validity__min_asr=0.5), CATALOGUE)
    assert given.validity == params.Validity(min_asr=0.5)
    assert given.literal("validity") == {"min_asr": 0.5}


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
        ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "line 2 an alias"),
        ("a: 0x" + "f" * 20_000, "a: 0xffff"),
        ("a: " + "9" * 5000, "line 1 '9999"),
        ("a: " + "1:" * 60_000 + "1", "a: 0x"),
        ("a: 1.0e+400\n", "a: inf is not allowed: not a finite number"),
        ("a: -.inf\n", "a: -inf is not allowed"),
        ("a: 2020-01-01\n", "a date has no place here; put text in quotes"),
        ("a: 2020-13-01\n", "line 1 '2020-13-01' is no timestamp"),
        ("a: !!binary aGk=\n", "a: b'hi' is not allowed"),
        ("a: !!set {x}\n", "a set has no place here"),
        ("a: !!set x\n", "line 1 expected a mapping node"),
        ("a: !!map [x]\n", "line 1 expected a mapping node"),
        ("a: !!pairs [x: 1]\n", "a tuple has no place here"),
        ("a: !!bool maybe\n", "line 1 'maybe' is no bool"),
        ("a: !!int ''\n", "line 1 '' is no int"),
        ("a: !mine 1\n", "line 1 could not determine a constructor"),
        ('a: "\\x1b[31m"\n', r"a: '\x1b[31m' is not allowed: it has control characters"),
        ("a: \0\n", "not YAML (unacceptable character"),
        ("? [a]\n: 1\n", "line 1 a key that is no name"),
        ("1: 2\n", "key 1 is no name"),
        ("a:\n\t- b\n", "line 2 while scanning"),
        ("a: 1\n---\nb: 1\n", "line 2 expected a single document"),
        ("a: " + "[" * 50 + "]" * 50, "nested deeper than 16"),
        ("\ufeff", "holds no keys"),
        ("- a\n", "holds no keys"),
        ("grid: 1\ngrid: 2\n", "'grid' stands twice"),
        ("grid: [\n", "line 2"),
        ("!!python/object:os.system {}\n", "line 1"),
        ("a" * (plain.MAX_BYTES + 1), "larger than the 131072 bytes that are read"),
        ("[" * 5000, "nested deeper than 16"),
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


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    for name in ("folder", "pipe", "loop", "gone"):
        with pytest.raises(ParamsError, match=f"{name}: not a file"):
            params.load(CATALOGUE, tmp_path / name)
    with pytest.raises(ParamsError, match="File name too long"):
        params.load(CATALOGUE, tmp_path / ("x" * 300))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path, *_: object) -> None:  # root may read whatever the mode says
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "params.yaml").touch()
    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(ParamsError, match=r"cannot be read \(Permission denied\)"):
        params.load(CATALOGUE, tmp_path / "params.yaml")


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("\ufeff" + presets.text("demo"), encoding="utf-8")
    assert params.load(CATALOGUE, path) == params.parse(demo(), CATALOGUE)


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
    assert settings.grids[0].attack == ("none", *CATALOGUE.names("attack", "b*"))


@pytest.mark.parametrize(("ratio", "text"), [(0.1, "0.1"), (0.005, "0.005"), (1e-5, "0.00001")])
def test_ratios_as_they_stand_in_paths(ratio: float, text: str) -> None:
    assert params.format_ratio(ratio) == text


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.text(alphabet="ab*?[]-!/.", max_size=6)
    | st.sampled_from(["digits", "folder", "badnets", "ft", "../x", "/etc", "*", "0.1", 1e-9]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)
LIKELY = [
    *(0, 1, 8, 2**31, 0.5, 1e-9, True, None, "digits", "folder", "?a*", "fast", "seen", {}),
    *(["*"], ["digits", "folder"], ["b*", "none"], [1, 2], [0.01, 0.99], ["../x"], [None]),
]
BASES = [demo(datasets={"folder": {"path": "x", "size": 8}}), yaml.safe_load(presets.text("smoke"))]


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in parameters: the keys and numbers that lead there."""
    yield place
    pairs = enumerate(value) if isinstance(value, list) else ()
    for key, inner in value.items() if isinstance(value, dict) else pairs:
        yield from places(inner, (*place, key))


def spoil(raw: Any, place: tuple[Any, ...], value: Any, key: Any) -> Any:
    """Put `value` in a place, or beside it under another key."""
    if not place:
        return value
    raw = copy.deepcopy(raw)
    inside = raw
    for part in place[:-1]:
        inside = inside[part]
    if isinstance(inside, list):
        inside[place[-1] : place[-1] + (key is None)] = [value]
    else:
        inside[place[-1] if key is None else key] = value
    return raw


def paths(made: plan.Plan) -> Iterator[Path]:
    """Every path that the jobs of a plan read or write."""
    jobs = Jobs(made)
    found = [jobs.train(run) for run in made.runs] + [jobs.evaluate(run) for run in made.runs]
    found += [jobs.poison(run) for run in made.runs if not run.is_clean]
    found += [jobs.defend(*cell) for cell in made.cells] + [jobs.report()]
    for stage in ("surrogate", "trigger", "features"):
        found += list(jobs.of(stage))
    found += [jobs.analyze(*each) for each in made.analyses]
    for job in found:
        yield from (*job.inputs, *job.outputs)
    yield from (layout.prepared(run.dataset, "train") for run in made.runs)


def planned_or_refused(raw: Any) -> bool:
    """Whether parameters are planned: inside the project; if not, the refusal is one line."""
    refused = ""
    try:
        made = plan.make(params.parse(raw, CATALOGUE), CATALOGUE)
    except ParamsError as error:
        refused = str(error)
    if refused:
        assert len(refused.splitlines()) == 1
        assert len(refused) < 1000
        return False
    SCHEMA.validate(raw)  # Snakemake's check comes after ours and must have nothing to add.
    for path in paths(made):
        assert path.parts[0] in ("data", "results")
        assert ".." not in path.parts
        assert str(path).isascii()
        assert max(map(len, path.parts)) < 100
    return True


def test_likely_values_in_every_place() -> None:
    raws = (
        spoil(base, place, value, None)
        for base in BASES
        for place in places(base)
        for value in LIKELY
    )
    verdicts = [planned_or_refused(raw) for raw in raws]
    assert verdicts.count(True) > 100
    assert verdicts.count(False) > 1000


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_value_in_any_place_is_planned_inside_the_project_or_refused_in_one_line(
    data: st.DataObject,
) -> None:
    base = data.draw(st.sampled_from(BASES))
    place = data.draw(st.sampled_from(list(places(base))))
    in_place = data.draw(st.booleans(), "in place of what stands there, not beside it")
    key = None if in_place else data.draw(st.text(max_size=5) | st.integers())
    raw = spoil(base, place, data.draw(st.sampled_from(LIKELY) | values), key)
    planned_or_refused(raw)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_fields_that_are_let_through_make_a_method(data: st.DataObject) -> None:
    from bdb import registry  # imports torch

    kind = data.draw(st.sampled_from(list(params.AXES)))
    entry = CATALOGUE.entries[kind][data.draw(st.sampled_from(list(CATALOGUE.entries[kind])))]
    names = st.sampled_from([*entry.schema["properties"], "else"])
    fields = data.draw(st.dictionaries(names, st.sampled_from(LIKELY) | values, max_size=2))
    refused = "nothing"
    try:
        plain.check(fields, "params.yaml")
        params.check_fields(entry, fields, "params.yaml")
        registry.get(kind, entry.name).make(**fields)
    except BdbError as error:
        refused = str(error)
    assert len(refused.splitlines()) == 1
