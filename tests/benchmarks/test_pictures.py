"""docs/pictures.md shows each analysis of a run, and what it says of either model."""

from pathlib import Path

import pictures
import pytest

from bdb import layout
from bdb.jobs import catalogue
from bdb.report import style


def draw(path: Path, caption: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with style.context():
        figure = style.new_figure(3, 2)
        style.headline(figure, "A title", caption)
        style.save_svg(figure, path)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two analyses: one of a victim, one of what a defense made of it."""
    entries = catalogue.load().entries["analysis"]
    monkeypatch.setattr(pictures, "analyses", lambda: [entries["cka"], entries["tac"]])
    for of, tool in ((None, "tac"), (pictures.UNDER, "cka")):
        for model in (pictures.BACKDOORED, pictures.BACKDOORED.control):
            path = tmp_path / "run" / layout.analysis(model, tool, "svg", of)
            draw(path, f"{model}: what {tool} shows\nin letters so many that a line breaks < & >")
    return tmp_path / "run"


def test_the_page_shows_every_picture_and_what_it_says(run: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures.md").write_text("# Pictures\n<!-- pictures -->\n<!-- /pictures -->\n")
    pictures.main(["--run", str(run), "--docs", str(tmp_path)])
    page = (tmp_path / "pictures.md").read_text()
    assert page.index("## Features") < page.index("### cka") < page.index("## Neurons")
    assert "![tac of a backdoored model](pictures/tac.svg)" in page
    said = "what tac shows in letters so many that a line breaks < & >"
    assert f"- Backdoored: digits/convnet/badnets/0.1/s0: {said}\n" in page
    assert f"- Clean: digits/convnet/none/0/s0: {said}\n" in page
    copied = (tmp_path / "pictures" / "cka.svg").read_bytes()
    assert copied == (run / layout.analysis(pictures.BACKDOORED, "cka", "svg", "clp")).read_bytes()


def test_a_picture_without_a_caption_says_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "a.svg", "")
    assert style.caption(tmp_path / "a.svg") == ""


def test_the_page_that_is_kept_names_every_analysis() -> None:
    root = Path(pictures.__file__).parents[1]
    page = (root / "docs" / "pictures.md").read_text()
    for entry in pictures.analyses():
        assert f"### {entry.name}\n" in page
        assert (root / "docs" / "pictures" / f"{entry.name}.svg").is_file()
