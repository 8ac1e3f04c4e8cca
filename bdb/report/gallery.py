"""What there is to see of a run and of its cells: pictures, what was found, what is certified."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bdb import artifacts, layout
from bdb.errors import ArtifactError
from bdb.jobs.plan import Plan
from bdb.layout import Run
from bdb.report import certified, sheet, style
from bdb.report.sheet import Sheet

_ROOM = 6_000_000  # bytes of pictures that the page holds; those beyond it stay files beside it
_ROOM_FOR_FINDS = 2_000_000  # and of what defenses found; beyond it the page names the file alone


@dataclass
class Exhibit:
    """A run, or a run under a defense.

    Attributes:
        pictures: SVG by analysis, as data URIs, or as addresses of files beside the page.
        sheet: what the defense found, if it declares any evidence.
        run: where the run is shown, if this is one of its cells: the same pictures stand there.
    """

    title: str
    pictures: dict[str, str] = field(default_factory=dict)
    sheet: Sheet | None = None
    run: str = ""

    @property
    def beside(self) -> int:
        """How many of the pictures are files beside the page."""
        return sum(not address.startswith("data:") for address in self.pictures.values())

    @property
    def names(self) -> list[str]:
        """What there is to see."""
        return [*self.pictures, *(["evidence"] if self.sheet else [])]


Gallery = dict[str, Exhibit]


def place(run: Run, defense: str | None = None) -> str:
    """Where on the page a run or a cell is shown; the page's script makes the same of a row."""
    return f"{run}/{defense}" if defense else str(run)


def make(plan: Plan) -> Gallery:
    """Gather what there is to see, by place: each run, and then its cells.

    Pictures stand in the page as long as there is room, those of the first seeds before others.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    drawn: dict[tuple[Run, str | None], dict[str, Path]] = {}
    for run, tool, of in plan.analyses:
        clean = of == layout.CLEAN_MODEL
        pictures = drawn.setdefault((run, None if clean else of), {})
        name = f"{tool} of the clean model" if clean else tool
        pictures[name] = layout.analysis(run, tool, "svg", of)
    addresses = _placed((run, path) for (run, _), found in drawn.items() for path in found.values())
    gallery = {}
    for run in plan.runs:
        measured = artifacts.read_json(layout.metrics(run))
        for defense in (None, *plan.defenses[run]):
            shown = drawn.get((run, defense), {})
            exhibit = _exhibit(run, defense, {name: addresses[shown[name]] for name in shown})
            if defense:
                _add_found(exhibit, plan, run, defense, measured)
            if exhibit.names:
                gallery[place(run, defense)] = exhibit
    _fold(gallery.values())
    return gallery


def _fold(exhibits: Iterable[Exhibit]) -> None:
    """Leave the evidence of the later ones in its files, if that of all is too much."""
    room = _ROOM_FOR_FINDS
    for exhibit in exhibits:
        if exhibit.sheet:
            room -= exhibit.sheet.size
            exhibit.sheet = exhibit.sheet if room >= 0 else exhibit.sheet.folded()


def _placed(pictures: Iterable[tuple[Run, Path]]) -> dict[Path, str]:
    """The address of each: it stands in the page, or beside it where there is no room.

    Raises:
        ArtifactError: one is missing.
    """
    addresses, room = {}, _ROOM
    for _, path in sorted(pictures, key=lambda picture: picture[0].seed):
        room -= _existing(path).stat().st_size
        addresses[path] = embed(path) if room >= 0 else beside(path)
    return addresses


def _exhibit(run: Run, defense: str | None, pictures: dict[str, str]) -> Exhibit:
    if not defense:
        return Exhibit(str(run), pictures)
    return Exhibit(f"{run} under {defense}", pictures, run=place(run))


def _add_found(
    exhibit: Exhibit, plan: Plan, run: Run, defense: str, measured: dict[str, Any]
) -> None:
    """What the defense found, and what its model certifies."""
    record = artifacts.read_json(layout.cell(run, defense) / "provenance.json")
    if plan.leaves_evidence(defense):
        suspected = (record.get("verdict") or {}).get("targets", [])
        path = layout.evidence(run, defense)
        exhibit.sheet = sheet.read(path, measured["targets"], suspected)
    curve = measured["cells"][defense].get("certified")
    if curve:
        figure = certified.draw(curve, record["certifies"], exhibit.title)
        exhibit.pictures["certified"] = as_uri(style.svg(figure))


def embed(path: Path) -> str:
    """An SVG file as a data URI.

    Raises:
        ArtifactError: it is missing.
    """
    return as_uri(_existing(path).read_bytes())


def beside(path: Path) -> str:
    """The address of an SVG file, seen from the page."""
    return Path(os.path.relpath(path, layout.REPORT)).as_posix()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; run the stage that makes it")
    return path


def as_uri(svg: bytes) -> str:
    """An SVG as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
