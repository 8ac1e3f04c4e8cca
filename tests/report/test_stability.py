import pandas as pd
import pytest

from bdb.jobs.sweeps import Variation
from bdb.report import stability

HALF = Variation("defense", "ft__lr_half", "ft", "lr", 0.1, 0.2)
TWICE = Variation("defense", "ft__lr_twice", "ft", "lr", 0.4, 0.2)


@pytest.fixture
def swept(board: pd.DataFrame) -> pd.DataFrame:
    """The board, where half of `lr` leaves 10 points more of every attack and twice costs C-Acc."""
    usual = board[board["defense"] == "ft"]
    half = usual.assign(defense=HALF.name, asr=usual["asr"] + 0.1)
    twice = usual.assign(defense=TWICE.name, c_acc=usual["c_acc"] - 0.04, asr=usual["asr"] - 0.2)
    return pd.concat([board, half, twice], ignore_index=True)


def test_each_variation_is_compared_cell_by_cell(swept: pd.DataFrame) -> None:
    table = stability.table(swept, [HALF, TWICE])
    assert list(table.columns) == stability.COLUMNS
    assert len(table) == 2 * (swept["defense"] == "ft").sum()
    half = table[table["value"] < table["usual"]]
    assert half["asr_change"].to_numpy() == pytest.approx(0.1)
    assert half["c_acc_change"].to_numpy() == pytest.approx(0)
    assert set(table["defense"]) == {"ft"}


def test_stability_is_the_mean_absolute_change(swept: pd.DataFrame) -> None:
    mean = stability.summarise(stability.table(swept, [HALF, TWICE])).iloc[0]
    assert mean["asr"] == pytest.approx((0.1 + 0.2) / 2)
    assert mean["c_acc"] == pytest.approx(0.04 / 2)


def test_an_attack_is_swept_over_its_victims(board: pd.DataFrame) -> None:
    weaker = board[board["attack"] == "sig"].assign(attack="sig__delta_half", asr=0.5)
    variation = Variation("attack", "sig__delta_half", "sig", "delta", 20, 40)
    table = stability.table(pd.concat([board, weaker]), [variation])
    assert len(table) == len(weaker)
    usual = board.loc[board["attack"] == "sig", "asr"]
    assert sorted(table["asr_change"]) == pytest.approx(sorted(0.5 - usual))


def test_the_picture_names_method_fields_and_means(swept: pd.DataFrame) -> None:
    figure = stability.draw(stability.table(swept, [HALF, TWICE]))
    texts = [each.get_text() for each in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    assert "ft: moved on average by C-Acc 2.0, ASR 15.0 points" in texts
    assert "lr" in texts


def test_without_a_sweep_table_and_picture_are_empty(board: pd.DataFrame) -> None:
    table = stability.table(board, [])
    assert table.empty
    figure = stability.draw(table)
    assert "No sweep is on the grid." in figure.get_supxlabel()
