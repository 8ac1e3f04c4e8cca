import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bdb import registry
from bdb.jobs import catalogue, catalogue_text

ROOT = Path(__file__).parents[2]


def test_it_holds_what_is_registered() -> None:
    known = catalogue.load()
    for kind in registry.PACKAGES:
        assert known.names(kind) == registry.names(kind)
    entry = known.get("attack", "wanet")
    assert entry.can("controls_training") is True
    assert entry.module == "bdb.attacks.training_controlled.wanet"
    assert known.get("defense", "strip").can("needs") == ["clean_set", "inputs", "model"]


def test_every_method_says_what_it_is_and_where_it_was_published() -> None:
    known = catalogue.load()
    for table in known.entries.values():
        for entry in table.values():
            assert entry.summary.endswith("."), entry.name
            if entry.room not in ("", "control", "brought") and entry.kind != "analysis":
                assert entry.paper, entry.name


def test_every_field_has_a_description() -> None:
    for kind in ("attack", "defense"):
        for entry in catalogue.load().entries[kind].values():
            for name, schema in entry.schema["properties"].items():
                assert schema.get("description"), f"{entry.name}.{name}"


def test_the_page_names_every_method() -> None:
    known = catalogue.load()
    page = catalogue_text.markdown(known)
    for table in known.entries.values():
        for name in table:
            assert f"### `{name}`" in page


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package's own code, to be spoilt."""
    shutil.copytree(ROOT / "bdb", tmp_path / "bdb", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "bdb" / "attacks" / "data_poisoning"


def listed(copy: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    places = os.pathsep.join(map(str, [copy.parents[2], *([path] if path else [])]))
    command = [sys.executable, "-m", "bdb", "list", "attack"]
    environment = os.environ | {"PYTHONPATH": places, "XDG_CACHE_HOME": str(copy.parents[2])}
    return subprocess.run(
        command, cwd=copy.parents[2], env=environment, capture_output=True, text=True, check=False
    )


def test_droppings_of_editors_and_file_systems_do_not_matter(copy: Path) -> None:
    (copy / ".#badnets.py").symlink_to("user@host.1234:5678")
    (copy / "._badnets.py").write_bytes(b"\0\5\x16\7")
    (copy / "badnets-old.py").write_text("def f(:\n")
    (copy.parent / ".ipynb_checkpoints").mkdir()
    (copy.parent / ".ipynb_checkpoints" / "wanet-checkpoint.py").write_text("1 / 0\n")
    done = listed(copy)
    assert (done.returncode, done.stderr) == (0, "")
    assert "badnets" in done.stdout


MISTAKES = {
    "def f(:\n": "1: SyntaxError: invalid syntax",
    "\nimport torch\n\nx = torch.nothing\n": "4: AttributeError: ",
    "import no_such_package\n": "1: ModuleNotFoundError: No module named 'no_such_package'",
    "from bdb.attacks.base import Atack\n": "1: ImportError: cannot import name 'Atack'",
    "raise ValueError('two\\nlines')\n": "1: ValueError: two lines",
    "x = '\\ud800'\nassert not x, x\n": "2: AssertionError: \\ud800",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_in_a_methods_file_is_located(copy: Path, text: str) -> None:
    (copy / "mine.py").write_text(text)
    done = listed(copy)
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert f"{copy}/mine.py:{MISTAKES[text]}" in said


def test_a_mistake_in_a_plugin_is_located(copy: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "elsewhere" / "stripes-0.1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stripes\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[bdb.attacks]\nstripe = stripes.stripe\n")
    assert "no module 'stripes'; install it" in listed(copy, metadata.parent).stderr
    (metadata.parent / "stripes").mkdir()
    (metadata.parent / "stripes" / "stripe.py").write_text("x = 1\ny = z\n")
    assert "stripes/stripe.py:2: NameError: name 'z'" in listed(copy, metadata.parent).stderr


def test_docs_say_how_a_method_differs_from_its_paper() -> None:
    found = catalogue.load()
    strip = found.get("defense", "strip").differs
    assert strip.startswith("Differs: the paper adds images with saturation (`mix: add`); here, as")
    assert f"\n\n{strip}\n\n" in catalogue_text.markdown(found)
    assert f"\n{strip}\n" in catalogue_text.description(found, "strip")
    assert found.get("defense", "ft").differs == ""


def test_docs_name_the_threat_model_of_an_attack() -> None:
    found = catalogue.load()
    for text in (catalogue_text.markdown(found), catalogue_text.description(found, "lf")):
        assert (
            "\nThe attacker changes training images and their labels; has to know the tra" in text
        )


def test_made_anew_it_stands_in_the_order_in_which_it_is_kept() -> None:
    made = catalogue._make_elsewhere()
    assert json.dumps(made) == json.dumps(made, sort_keys=True)
