import math

import pandas as pd
import pytest

from bdb.report import significance
from bdb.report.significance import COLUMNS, JUDGED, judge


def pair(found: significance.Significance, metric: str, one: str, other: str) -> pd.Series:
    table = found.pairs.set_index(["metric", "defense", "other"])
    return table.loc[(metric, one, other)]


def test_every_pair_is_compared_once_for_each_metric(board: pd.DataFrame) -> None:
    found = judge(board)
    assert list(found.pairs.columns) == COLUMNS
    assert found.pairs.groupby("metric").size().to_dict() == dict.fromkeys(JUDGED, 5 * 4 // 2)
    assert (found.pairs[["attacks", "victims"]] == [4, 5]).all(axis=None)


def test_a_difference_is_paired_and_its_direction_is_that_of_the_metric(
    board: pd.DataFrame,
) -> None:
    found = pair(judge(board), "asr", "anp", "nc")
    attacked = board[board["attack"] != "none"]
    means = attacked.groupby("defense")["asr"].mean()
    assert found["difference"] == pytest.approx(means["anp"] - means["nc"])
    assert found["low"] <= found["difference"] <= found["high"]
    assert found["worse"] > 0.9  # a higher ASR is worse
    accuracy = pair(judge(board), "c_acc", "none", "nc")
    assert accuracy["difference"] > 0
    assert accuracy["worse"] == 0


def test_seeds_are_no_victims_of_their_own(board: pd.DataFrame) -> None:
    one_seed = judge(board[board["seed"] == 0])
    assert (one_seed.pairs["victims"] == judge(board).pairs["victims"]).all()


def test_only_seeds_that_both_have_are_compared(board: pd.DataFrame) -> None:
    lacking = board[~((board["defense"] == "ft") & (board["seed"] == 2))].copy()
    lacking.loc[lacking["seed"] == 2, "asr"] = 0.0
    here = pair(judge(lacking), "asr", "anp", "ft")
    there = pair(judge(board[board["seed"] < 2]), "asr", "anp", "ft")
    assert here["difference"] == pytest.approx(there["difference"])


def test_controls_and_failed_attacks_count_for_nothing(board: pd.DataFrame) -> None:
    failed = board.assign(failed_attack=board["attack"] == "sig")
    found = judge(failed)
    assert (found.pairs["attacks"] == 3).all()
    assert found.overall["asr"]["victims"] == 4


def test_ranks_are_over_the_largest_part_that_has_no_hole(board: pd.DataFrame) -> None:
    found = judge(board[~((board["defense"] == "ac") & (board["attack"] != "badnets"))])
    assert found.overall["asr"]["left_out"] == ["ac"]
    assert found.overall["asr"]["victims"] == 5
    assert list(found.overall["asr"]["ranks"]) == ["nc", "anp", "ft", "none"]
    assert found.overall["asr"]["ranks"]["nc"] == 1
    assert pair(found, "asr", "ac", "nc")["victims"] == 2  # the pair is still compared


def test_a_metric_that_a_defense_lacks_leaves_it_out(board: pd.DataFrame) -> None:
    without = board.assign(der=board["der"].where(board["defense"] != "none"))
    found = judge(without)
    assert "none" in found.overall["der"]["left_out"]
    assert "none" not in set(found.pairs.loc[found.pairs["metric"] == "der", "defense"])


def test_where_nothing_can_be_paired_nothing_is_said(board: pd.DataFrame) -> None:
    found = judge(board[board["attack"] == "none"])
    assert found.pairs.empty
    assert found.overall["asr"]["victims"] == 0
    assert "Nothing to rank." in _texts(found)


def test_the_picture_names_every_defense_and_how_many_victims(board: pd.DataFrame) -> None:
    texts = _texts(judge(board))
    assert {"no defense", "ac", "anp", "ft", "nc", "ASR on 5 victims"} <= set(texts)


def test_numbers_stand_in_json(board: pd.DataFrame) -> None:
    found = judge(board[board["defense"].isin(["ft", "nc"])]).overall["asr"]
    assert found["friedman"] is None
    assert math.isfinite(found["critical_difference"])


def _texts(found: significance.Significance) -> list[str]:
    figure = significance.draw(found.overall)
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
