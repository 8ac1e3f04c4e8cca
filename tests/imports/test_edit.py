"""params.yaml gets what an import needs; all that a person wrote there stays as it is."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from bdb import params, plain, presets
from bdb.errors import ParamsError
from bdb.imports import edit
from bdb.jobs import catalogue

ENTRY = {
    "method": "imported", "path": "data/imported/theirs", "of": "digits/theirs_net",
    "source": "a0675410efbc", "lacks": ["triggered"],
}  # fmt: skip
LINES: dict[str, dict[str, Any]] = {
    "grid": {"dataset": ["digits"], "model": ["theirs_net"], "attack": ["theirs"], "seed": [3]},
    "models": {"theirs_net": {"method": "convnet", "width": 4}},
    "attacks": {"theirs": ENTRY},
    "clean_set": {"source": "seen"},
}
PLAIN = {
    "grid": {"dataset": ["digits"], "model": ["convnet"], "attack": ["none"], "seed": [0],
             "poison_ratio": [0.1]},
}  # fmt: skip
COMMENTED = """\
# of mine
grid: # what is run
  dataset: [digits]   # embedded
  model: [
    convnet # narrow
  ]

  attack:
    - none
    # the next is slow
    - badnets   # the oldest

    # end of attacks
  seed: [0,1]
  poison_ratio: {'*': [0.1]}

# what differs
"attacks": {} # nothing yet
models: {}  # nor here
# the end
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def is_part(before: list[str], after: list[str]) -> bool:
    """Whether the lines stand in the other text, in their order."""
    rest = iter(after)
    return all(line in rest for line in before)


def check(path: Path, text: str) -> str:
    """What the file has after LINES were put in: all of them, and nothing else changed."""
    before = yaml.safe_load(text)
    assert edit.put(LINES, path)
    after = path.read_text(encoding="utf-8")
    assert edit.put(LINES, path) == []
    assert path.read_text(encoding="utf-8") == after
    found = plain.read(path)
    for key, values in LINES["grid"].items():
        held = before["grid"][key]
        assert found["grid"].pop(key) == list(dict.fromkeys([*held, *values]))
        del before["grid"][key]
    for section in ("models", "attacks", "clean_set"):
        assert found.pop(section) == (before.pop(section, None) or {}) | LINES[section]
    assert found == before
    return after


RAW = {name: yaml.safe_load(presets.text(name)) for name in presets.names()}
PRESETS = [
    name for name, raw in RAW.items() if not any(isinstance(part, list) for part in raw.values())
    and "*" not in chain(*raw["grid"].values())
]  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_gets_lines_and_loses_none(tmp_path: Path, name: str) -> None:
    text = presets.text(name)
    after = check(written(tmp_path, text), text)
    replaced = (": {}", "source: reserved")
    kept = [line for line in text.splitlines() if not any(map(line.count, replaced))]
    assert is_part(kept, after.splitlines())


@pytest.mark.parametrize("flow", [False, True, None])
@pytest.mark.parametrize(
    "more",
    [{}, {"attacks": {}, "models": {}}, {"attacks": {"theirs": {"method": "badnets"}}},
     {"models": {"net": {"method": "convnet"}}, "clean_set": {"fraction": 0.1}},
     {"clean_set": {"source": "reserved"}, "training": {"recipe": "fast"}}],
)  # fmt: skip
def test_any_style_of_yaml_will_do(tmp_path: Path, flow: bool | None, more: dict[str, Any]) -> None:
    for raw in (PLAIN | more, more | PLAIN):
        text = yaml.safe_dump(raw, sort_keys=False, default_flow_style=flow)
        check(written(tmp_path, text), text)
        check(written(tmp_path, text.rstrip()), text)


def test_comments_stay_where_they_are(tmp_path: Path) -> None:
    after = check(written(tmp_path, COMMENTED), COMMENTED)
    for wanted in (
        "    - badnets   # the oldest\n    - theirs\n\n    # end of attacks\n",
        "  seed: [0,1, 3]\n",
        '"attacks": # nothing yet\n  theirs:\n    method: imported\n',
        "models:  # nor here\n  theirs_net:\n    method: convnet\n    width: 4\n",
        "  model: [\n    convnet # narrow\n  , theirs_net]\n\n",
        "# what differs\n",
        "# the end\n",
    ):
        assert wanted in after


def test_a_pattern_on_the_grid_has_it_already(tmp_path: Path) -> None:
    raw = PLAIN | {"grid": PLAIN["grid"] | {"attack": ["none", "t*"]}}
    path = written(tmp_path, yaml.safe_dump(raw))
    changed = edit.put(LINES, path)
    assert plain.read(path)["grid"]["attack"] == ["none", "t*"]
    assert not any(each.startswith("grid.attack") for each in changed)


def test_it_says_what_it_changes(tmp_path: Path) -> None:
    raw = PLAIN | {"clean_set": {"source": "reserved"}}
    said = edit.put(LINES, written(tmp_path, yaml.safe_dump(raw)))
    assert "grid.attack: [theirs]" in said
    assert "clean_set.source: seen, no longer reserved" in said


@pytest.mark.parametrize(
    ("text", "lines", "message"),
    [
        (yaml.safe_dump([PLAIN]), LINES, "holds no keys"),
        (yaml.safe_dump({"grid": [PLAIN["grid"]]}), LINES, "grid is a list"),
        (
            yaml.safe_dump(PLAIN | {"clean_set": [{}, {"source": "seen"}]}),
            LINES,
            "clean_set is a list",
        ),
        ("grid: [", LINES, "line 1"),
        (yaml.safe_dump(PLAIN), {"grid": {"attack": ["theirs"]}}, "'theirs' is not known"),
        (yaml.safe_dump(PLAIN), {"attacks": {"none": ENTRY}}, "none"),
        (yaml.safe_dump(PLAIN), {"clean_set": {"source": "stolen"}}, "source"),
        (yaml.safe_dump(PLAIN | {"nonsense": 1}), {}, "nonsense"),
        (COMMENTED.replace("[0,1]", "[0,1,]"), LINES, "by hand"),
    ],
)
def test_what_would_not_do_changes_nothing(
    tmp_path: Path, text: str, lines: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ParamsError, match=message) as caught:
        edit.put(lines, path)
    assert "\n" not in str(caught.value)
    assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_the_result_is_what_the_settings_are_made_of(tmp_path: Path) -> None:
    path = written(tmp_path, COMMENTED)
    edit.put(LINES, path)
    settings = params.load(catalogue.load(), path)
    assert settings.method("attack", "theirs") == "imported"
    assert settings.fields("attack", "theirs")["lacks"] == ["triggered"]
