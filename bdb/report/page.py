"""The report: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from bdb import artifacts
from bdb.layout import is_control
from bdb.report import population, significance, stability, style
from bdb.report.gallery import Exhibit, as_uri
from bdb.report.significance import Significance

if TYPE_CHECKING:
    import pandas as pd

_TEMPLATES = Path(__file__).parent / "templates"


def write(
    path: Path,
    board: pd.DataFrame,
    summary: pd.DataFrame,
    gallery: Mapping[str, Exhibit],
    facts: Mapping[str, str],
    methods: Mapping[str, str] = MappingProxyType({}),
    judged: Significance | None = None,
    swept: pd.DataFrame | None = None,
    models: pd.DataFrame | None = None,
) -> None:
    """Write the page; script, style, data and pictures all stand in it.

    Args:
        path: of the file.
        board: one row per cell, as `bdb.report.board.make` gives it.
        summary: means over seeds, as `bdb.report.board.summarise` gives them.
        gallery: what there is to see, as `bdb.report.gallery.make` gives it.
        facts: what the footer says of the whole.
        methods: what each attack and defense is, by name.
        judged: which defense is better than which.
        swept: what half and twice of fields change, as `bdb.report.stability.table` gives it.
        models: verdicts on models, as `bdb.report.population.models` gives them.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("index.html.j2").render(
        sentence=_sentence(board),
        data=Markup(_data(board, summary, judged.pairs if judged else None)),
        plotly=Markup(get_plotlyjs()),
        gallery=gallery,
        facts=facts,
        methods=methods,
        ranks=as_uri(style.svg(significance.draw(judged.overall))) if judged else "",
        population=None if models is None or models.empty else _population(models),
        stability="" if swept is None or swept.empty else as_uri(style.svg(stability.draw(swept))),
    )
    artifacts.write_text(path, html)


def _population(models: pd.DataFrame) -> dict[str, object]:
    """Two tables as rows of text, the first being the names of columns; and the curves."""
    return {
        "tables": population.as_tables(models),
        "curves": as_uri(style.svg(population.draw(models))),
    }


def _sentence(board: pd.DataFrame) -> str:
    """What the page is about, in one line."""
    attacks = board.loc[~board["attack"].map(is_control), "attack"].nunique()
    cells = board[board["defense"] != "none"]
    parts = [
        _count(attacks, "attack"),
        _count(cells["defense"].nunique(), "defense"),
        _count(board["seed"].nunique(), "seed"),
        _count(len(cells), "cell"),
    ]
    places = [" and ".join(map(str, board[name].unique())) for name in ("dataset", "model")]
    return f"{', '.join(parts)}, on {places[0]} with {places[1]}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _data(board: pd.DataFrame, summary: pd.DataFrame, pairs: pd.DataFrame | None) -> str:
    """The frames as JSON that may stand inside a script element; NaN becomes null."""
    import json

    def encode(frame: pd.DataFrame) -> str:
        return frame.to_json(orient="split", index=False, double_precision=6)

    frames = {"board": board, "summary": summary}
    if pairs is not None:
        frames["pairs"] = pairs
    parts = [f'"{name}":{encode(frame)}' for name, frame in frames.items()]
    text = "{" + ",".join([*parts, f'"palette":{json.dumps(style.PALETTE)}']) + "}"
    return text.replace("<", "\\u003c").replace("&", "\\u0026")
