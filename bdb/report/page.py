"""The report: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from bdb import artifacts
from bdb.layout import defense_of, is_control
from bdb.report import population, style
from bdb.report.findings import Findings
from bdb.report.gallery import Exhibit

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Template

_TEMPLATES = Path(__file__).parent / "templates"


def write(
    path: Path,
    found: Findings,
    pictures: Mapping[str, str],
    gallery: Mapping[str, Exhibit],
    facts: Mapping[str, str] = MappingProxyType({}),
    methods: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the page; script, style, data and pictures all stand in it.

    Args:
        path: of the file.
        found: the board, and what follows from it.
        pictures: those of `bdb.report.plots` as addresses that hold them, by name.
        gallery: what there is to see, as `bdb.report.gallery.make` gives it.
        facts: what the footer says of the whole.
        methods: what each attack and defense is, by name.
    """
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    html = template("index.html.j2").render(
        sentence=_sentence(found.board),
        data=Markup(_data(found)),
        plotly=Markup(get_plotlyjs()),
        gallery=gallery,
        facts=facts,
        methods=methods,
        pictures=pictures,
        is_swept=not found.swept.empty,
        is_given=not found.given.empty,
        beside=sum(exhibit.beside for exhibit in gallery.values()),
        population=[] if found.models.empty else population.as_tables(found.models),
    )
    artifacts.write_text(path, html)


def template(name: str) -> Template:
    """A template of this package; what it is given is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _sentence(board: pd.DataFrame) -> str:
    """What the page is about, in one line."""
    attacks = board.loc[~board["attack"].map(is_control), "attack"].nunique()
    cells = board[board["defense"] != "none"]
    parts = [
        _count(attacks, "attack"),
        _count(cells["defense"].map(defense_of).nunique(), "defense"),
        _count(board["seed"].nunique(), "seed"),
        _count(len(cells), "cell"),
    ]
    places = [" and ".join(map(str, board[name].unique())) for name in ("dataset", "model")]
    return f"{', '.join(parts)}, on {places[0]} with {places[1]}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _data(found: Findings) -> str:
    """The frames as JSON that may stand inside a script element; NaN becomes null."""
    import json

    frames = {"board": found.board, "summary": found.summary, "pairs": found.judged.pairs}
    parts = [f'"{name}":{_packed(frame)}' for name, frame in frames.items()]
    text = "{" + ",".join([*parts, f'"palette":{json.dumps(style.PALETTE)}']) + "}"
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


def _packed(frame: pd.DataFrame) -> str:
    """A frame column by column: a value that many rows share is written once.

    A column holds `values`, and in `at` which of these each row has: nothing where all rows have
    the only one; no `at` where each row has its own.
    """
    columns = ",".join(f'"{name}":{_column(frame[name])}' for name in frame)
    return f'{{"rows":{len(frame)},"columns":{{{columns}}}}}'


def _column(column: pd.Series) -> str:
    import pandas as pd

    codes, distinct = pd.factorize(column, use_na_sentinel=False)
    if 2 * len(distinct) > len(column) > 1:
        return f'{{"values":{_json(column)}}}'
    at = codes.tolist() if len(distinct) > 1 else []
    return f'{{"values":{_json(pd.Series(distinct))},"at":{str(at).replace(" ", "")}}}'


def _json(column: pd.Series) -> str:
    return column.to_json(orient="records", double_precision=6)
