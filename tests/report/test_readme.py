from pathlib import Path

import pytest

from bdb.errors import ArtifactError
from bdb.jobs import catalogue, catalogue_text
from bdb.report import readme

ROOT = Path(__file__).parents[2]


def test_the_table_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    begin, end = readme.markers("demo")
    path.write_text(f"a\n{begin}\nold\n{end}\nb\n")
    readme.insert(path, "| new |\n", "demo")
    assert path.read_text() == f"a\n{begin}\n| new |\n{end}\nb\n"


def test_without_its_markers_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("<!-- demo -->\n<!-- /demo -->\n")
    with pytest.raises(ArtifactError, match=r"README\.md: no <!-- other --> "):
        readme.insert(path, "| new |\n", "other")
    assert path.read_text() == "<!-- demo -->\n<!-- /demo -->\n"


def test_the_catalogue_in_the_docs_is_the_registrys() -> None:
    committed = (ROOT / "docs" / "methods.md").read_text()
    assert committed == catalogue_text.markdown(catalogue.load()), "run `bdb docs`"
