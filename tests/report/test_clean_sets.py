import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from bdb.jobs.plan import CleanShare
from bdb.report import board as boards
from bdb.report import clean_sets, fields, findings, page, significance, validity

GIVEN = {
    ("digits", f"{name}@{kind}-{share:g}"): CleanShare(kind, share)
    for name in ("ft", "nad")
    for kind in ("seen", "reserved")
    for share in (0.05, 0.01)
}
# By attack, seed and defense, of two attacks that work: what the table is computed from by hand.
ASR = {
    ("badnets", 0, "ft@seen-0.01"): 0.5,
    ("blended", 0, "ft@seen-0.01"): 0.9,  # mean of seed 0: 0.7
    ("badnets", 1, "ft@seen-0.01"): 0.3,
    ("blended", 1, "ft@seen-0.01"): 0.7,  # mean of seed 1: 0.5
}


def row(attack: str, seed: int, defense: str) -> dict[str, Any]:
    """Of a list of sets that reserves a tenth."""
    own = GIVEN.get(("digits", defense))
    shared = "clean_set.fraction=0.1"
    parts = [f"{defense}.method=ft", f"{defense}.clean_set.fraction={own.share}"] if own else []
    if own and own.kind == "seen":
        parts.append(f"{defense}.clean_set.reserved=0.1")
    return {
        "dataset": "digits",
        "model": "convnet",
        "attack": attack,
        "poison_ratio": 0.0 if attack == "none" else 0.1,
        "seed": seed,
        "defense": defense,
        "recipe": "fast",
        "clean_set": own.kind if own else "reserved",
        "setting": " ".join([shared, *parts]),
        "c_acc": 0.9 if attack == "failing" and defense == "none" else 0.98,
        "asr": ASR.get((attack, seed, defense), 1.0 if defense == "none" else 0.2),
        "der": 0.5,
    }


@pytest.fixture(scope="module")
def several() -> pd.DataFrame:
    """Two attacks that work, one that fails, and the control, over two seeds."""
    names = ["none", "clp", *(cell for _, cell in GIVEN)]
    rows = [
        row(attack, seed, name)
        for attack in ("none", "badnets", "blended", "failing")
        for seed in (0, 1)
        for name in names
    ]
    board = pd.DataFrame(rows, columns=pd.Index(boards.COLUMNS))
    return board.assign(**validity.judge(board), adaptive=False, score=math.nan)


def test_figures_are_means_over_attacks_and_then_over_seeds(several: pd.DataFrame) -> None:
    table = clean_sets.table(several, GIVEN).set_index(["defense", "kind", "share"])
    ft = table.loc[("ft", "seen", 0.01)]
    assert (ft["attacks"], ft["seeds"]) == (2, 2)
    assert ft["asr_mean"] == pytest.approx((0.7 + 0.5) / 2)
    half = stats.t.ppf(0.975, 1) * 0.1  # of two seeds 0.2 apart: s / sqrt(2) = 0.1
    assert ft["asr_low"] == 0.0 == max(0.0, 0.6 - half)
    assert ft["asr_high"] == 1.0 == min(1.0, 0.6 + half)
    assert table.loc[("nad", "reserved", 0.05), "asr_mean"] == pytest.approx(0.2)
    assert ft["c_acc_mean"] == pytest.approx(0.98)
    assert ft["c_acc_low"] == ft["c_acc_high"] == pytest.approx(0.98)


def test_what_needs_no_clean_images_has_one_row_without_a_share(several: pd.DataFrame) -> None:
    table = clean_sets.table(several, GIVEN)
    assert len(table) == len(GIVEN) + 2
    level = table[table["kind"] == ""]
    assert list(level["defense"]) == ["none", "clp"]
    assert level["share"].isna().all()
    assert list(level["asr_mean"]) == pytest.approx([1.0, 0.2])


def test_cells_are_judged_by_the_victim_that_they_share(several: pd.DataFrame) -> None:
    assert set(fields.of_victims(several)) == {"reserved"}
    failed = several.groupby("attack")["failed_attack"].mean()
    assert failed.to_dict() == {"none": 0, "badnets": 0, "blended": 0, "failing": 1}


def test_where_all_was_seen_victims_are_of_seen_too() -> None:
    board = pd.DataFrame(
        [
            {"defense": "none", "clean_set": "seen", "setting": ""},
            {"defense": "ft@seen-0.01", "clean_set": "seen", "setting": "ft@seen-0.01.method=ft"},
            {"defense": "ft@ood", "clean_set": "ood", "setting": "ft@ood.method=ft"},
        ]
    )
    assert fields.of_victims(board) == ["seen", "seen", "reserved"]


def test_no_two_clean_sets_are_paired(several: pd.DataFrame) -> None:
    judged = significance.judge(several)
    pairs = judged.pairs[judged.pairs["metric"] == "asr"]
    named = set(zip(pairs["defense"], pairs["other"], strict=True))
    # none with clp, both with each of eight cells, and ft with nad under each of four sets.
    assert len(named) == 1 + 2 * 8 + 4
    assert ("ft@seen-0.01", "nad@seen-0.01") in named
    assert all(len({name.partition("@")[2] for name in pair} - {""}) < 2 for pair in named)
    assert pairs["victims"].unique().tolist() == [2]
    ranks = judged.overall["asr@seen-0.01"]["ranks"]
    assert set(ranks) == {"none", "clp", "ft@seen-0.01", "nad@seen-0.01"}
    assert "asr" not in judged.overall
    texts = [each.get_text() for each in significance.draw(judged.overall).findobj(_has_text)]
    assert "ASR, seen-0.01 on 2 victims" in texts


def _has_text(artist: Any) -> bool:
    return hasattr(artist, "get_text")


def test_the_picture_has_a_colour_per_defense_and_a_dash_per_source(several: pd.DataFrame) -> None:
    figure = clean_sets.draw(clean_sets.table(several, GIVEN))
    handles = {each.get_label(): each for each in figure.legends[0].get_lines()}
    assert set(handles) == {"no defense", "clp", "ft", "nad", "seen", "reserved"}
    c_acc, asr = figure.axes
    drawn = [line for line in asr.get_lines() if len(line.get_xdata()) == 2 and line.get_marker()]
    points = [line for line in drawn if line.get_marker() in ("o", "s")]
    assert len(points) == 4  # two defenses, two kinds
    assert {line.get_color() for line in points} == {
        handles["ft"].get_color(),
        handles["nad"].get_color(),
    }
    assert {line.get_linestyle() for line in points} == {
        handles["seen"].get_linestyle(),
        handles["reserved"].get_linestyle(),
    }
    assert [text.get_text() for text in asr.get_xticklabels()] == ["1 %", "5 %"]
    assert c_acc.get_ylabel() == "clean accuracy"


def test_under_one_clean_set_table_and_picture_are_empty(board: pd.DataFrame) -> None:
    table = clean_sets.table(board, {})
    assert table.empty
    assert list(table.columns) == clean_sets.COLUMNS
    assert "There is one clean set" in clean_sets.draw(table).get_supxlabel()


def test_the_page_shows_it_only_where_there_are_several(
    several: pd.DataFrame, board: pd.DataFrame, tmp_path: Path
) -> None:
    pictures = dict.fromkeys(("ranks", "stability", "roc", "clean_sets"), "data:,")
    for name, found in {"many": findings.of(several, (), GIVEN), "one": findings.of(board)}.items():
        page.write(tmp_path / f"{name}.html", found, pictures, {})
    many = (tmp_path / "many.html").read_text()
    assert 'id="clean-sets"' in many
    assert "3 attacks, 3 defenses, 2 seeds" in many
    assert 'id="clean-sets"' not in (tmp_path / "one.html").read_text()
