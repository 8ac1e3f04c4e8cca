"""docs/pictures.md, from a run of preset `pictures`: what every analysis draws, how to read it."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser
from pathlib import Path

import common

from bdb import layout
from bdb.jobs import catalogue, catalogue_text
from bdb.jobs.catalogue import Entry
from bdb.layout import Run
from bdb.report import readme, style

BACKDOORED = Run("digits", "convnet", "badnets", "0.1", 0)
UNDER = "clp"  # what looks at a defended model is shown of this defense
MARKER = "pictures"


def text(run: Path, docs: Path) -> str:
    """A section per subject and a picture per analysis, as Markdown; the pictures are copied."""
    parts = []
    for room, entries in catalogue_text.by_room(analyses()).items():
        parts.append(f"## {room.removeprefix('analysis ').capitalize()}\n")
        parts += [described(entry, run, docs) for entry in entries]
    return "\n".join(parts)


def analyses() -> list[Entry]:
    """All that there are here."""
    return list(catalogue.load().entries["analysis"].values())


def described(entry: Entry, run: Path, docs: Path) -> str:
    """An analysis: its picture of a backdoored model, what it says of that, and of a clean one."""
    of = UNDER if entry.can("scope") == "cell" else None
    backdoored, clean = (
        run / layout.analysis(each, entry.name, "svg", of)
        for each in (BACKDOORED, BACKDOORED.control)
    )
    place = docs / MARKER / f"{entry.name}.svg"
    place.parent.mkdir(exist_ok=True)
    shutil.copyfile(backdoored, place)
    return (
        f"### {entry.name}\n\n{entry.summary}\n\n"
        f"![{entry.name} of a backdoored model]({MARKER}/{place.name})\n\n"
        f"- Backdoored: {style.caption(backdoored)}\n- Clean: {style.caption(clean)}\n"
    )


def options() -> ArgumentParser:
    """The command line."""
    made = common.command_line(__doc__)
    made.add_argument("--run", type=Path, required=True, help="folder of a run of the preset")
    common.add_docs(made)
    return made


def main(arguments: list[str] | None = None) -> None:
    """Copy the pictures and fill the page."""
    args = options().parse_args(arguments)
    readme.insert(args.docs / "pictures.md", text(args.run, args.docs), MARKER)


if __name__ == "__main__":
    main()
