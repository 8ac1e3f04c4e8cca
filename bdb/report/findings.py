"""What a report says: the board, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from bdb.jobs.plan import CleanShare
from bdb.jobs.sweeps import Variation
from bdb.report import board as boards
from bdb.report import clean_sets, population, significance, stability
from bdb.report.significance import Significance

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Findings:
    """Everything that tables, pictures and the page are made from.

    Attributes:
        board: one row per cell, as `bdb.report.board.make` gives it.
        summary: means over seeds, as `bdb.report.board.summarise` gives them.
        judged: which defense is better than which.
        swept: what half and twice of fields change, as `bdb.report.stability.table` gives it.
        models: verdicts on models, as `bdb.report.population.models` gives them.
        given: what clean sets are worth, as `bdb.report.clean_sets.table` gives it.
    """

    board: pd.DataFrame
    summary: pd.DataFrame
    judged: Significance
    swept: pd.DataFrame
    models: pd.DataFrame
    given: pd.DataFrame


def of(
    board: pd.DataFrame,
    variations: Sequence[Variation] = (),
    given: Mapping[tuple[str, str], CleanShare] = MappingProxyType({}),
) -> Findings:
    """Summarise and judge a board.

    Args:
        board: one row per cell, as `bdb.report.board.make` gives it.
        variations: the sweeps of its plan. They are no rivals of what people chose, so they are
            compared with what they vary alone.
        given: of its plan: the clean sets of cells, where there are several.
    """
    varied = {each.name for each in variations}
    chosen = board[~board["attack"].isin(varied) & ~board["defense"].isin(varied)]
    return Findings(
        board,
        boards.summarise(board),
        significance.judge(chosen),
        stability.table(board, variations),
        population.models(board),
        clean_sets.table(chosen, given),
    )
