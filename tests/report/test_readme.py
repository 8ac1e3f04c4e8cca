from pathlib import Path

import pytest

from bdb.errors import ArtifactError
from bdb.jobs import catalogue, catalogue_text
from bdb.report import readme

ROOT = Path(__file__).parents[2]


def test_the_table_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"a\n{readme.BEGIN}\nold\n{readme.END}\nb\n")
    readme.insert(path, "| new |\n")
    assert path.read_text() == f"a\n{readme.BEGIN}\n| new |\n{readme.END}\nb\n"


def test_without_markers_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("nothing here\n")
    with pytest.raises(ArtifactError, match=r"README\.md"):
        readme.insert(path, "| new |\n")
    assert path.read_text() == "nothing here\n"


def test_the_catalogue_in_the_docs_is_the_registrys() -> None:
    committed = (ROOT / "docs" / "methods.md").read_text()
    assert committed == catalogue_text.markdown(catalogue.load()), "run `bdb docs`"
