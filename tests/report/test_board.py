import math
from pathlib import Path

import pandas as pd
import pytest

from bdb.report import board as boards
from bdb.report import compare, population


def frame() -> pd.DataFrame:
    rows = []
    for seed, asr in ((0, 0.9), (1, 1.0), (2, 0.8)):
        for defense, c_acc, after in (("none", 0.95, asr), ("ft", 0.93, asr - 0.7)):
            rows.append(
                {
                    "dataset": "digits",
                    "model": "convnet",
                    "attack": "badnets",
                    "poison_ratio": 0.1,
                    "seed": seed,
                    "defense": defense,
                    "recipe": "fast",
                    "clean_set": "reserved",
                    "setting": "",
                    "c_acc": c_acc,
                    "asr": after,
                    "ra": 0.1,
                    "der": float("nan") if defense == "none" else 0.8,
                    "seconds": 1.0,
                }
            )
    return pd.DataFrame(rows)


def test_means_and_intervals_over_seeds() -> None:
    summary = boards.summarise(frame()).set_index("defense")
    assert summary.loc["none", "seeds"] == 3
    assert summary.loc["none", "asr_mean"] == pytest.approx(0.9)
    # Student's t with two degrees of freedom: 4.303 times 0.1 over the square root of 3.
    assert summary.loc["none", "asr_low"] == pytest.approx(0.9 - 0.2484, abs=1e-4)
    assert summary.loc["none", "asr_high"] == 1.0  # Not 1.1484, which no rate can be.
    assert summary.loc["none", ["asr_min", "asr_max"]].tolist() == pytest.approx([0.8, 1.0])
    assert summary.loc["ft", "c_acc_loss_mean"] == pytest.approx(0.02)
    assert math.isnan(summary.loc["none", "der_mean"])


def test_one_seed_has_no_interval() -> None:
    alone = frame()[lambda table: table["seed"] == 0]
    assert boards.summarise(alone)[["asr_low", "asr_high"]].isna().all(axis=None)


def test_a_kept_board_ranks_verdicts_among_all_clean_models_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bdb import artifacts
    from bdb.report import kept

    monkeypatch.chdir(tmp_path)
    table = frame().assign(score=[None, 5.0, None, 6.0, None, 7.0], attack="none", poison_ratio=0.0)
    for seeds, add in (((0, 1), False), ((2,), True)):
        board = table[table["seed"].isin(seeds)]
        board = board.assign(**population.calibrate(board))
        artifacts.write_table(Path("results/board.parquet"), board)
        path = kept.keep("both", add)
    found = pd.read_csv(path).query("defense == 'ft'")
    assert found["p_value"].tolist() == pytest.approx([1.0, 2 / 3, 1 / 3], abs=1e-6)
    assert set(found["calibration"]) == {"2 clean models"}


def test_the_table_in_markdown() -> None:
    text = boards.markdown(boards.summarise(frame()))
    assert "digits convnet, 3 seeds: C-Acc / ASR in %" in text
    assert "| attack | ratio | no defense | ft |" in text
    assert "| badnets | 0.1 | 95.0 / 90.0 | 93.0 / 20.0 |" in text


def test_the_worst_case_is_over_attacks_that_know_of_the_defense_and_worked(
    board: pd.DataFrame, summary: pd.DataFrame
) -> None:
    worst = boards.worst(summary).set_index("defense")
    assert "none" not in worst.index
    known = summary[summary["adaptive"].astype(bool) & (summary["defense"] == "ft")]
    assert set(zip(known["attack"], known["poison_ratio"], strict=True)) == {
        ("wanet", 0.1),
        ("badnets", 0.01),
    }
    assert worst.loc["ft", "asr_mean"] == known["asr_mean"].max()
    failed = board.assign(failed_attack=board["poison_ratio"] == 0.01)
    only = boards.worst(boards.summarise(failed))
    assert set(only["attack"]) == {"wanet"}


def test_the_worst_case_stands_below_the_mean(summary: pd.DataFrame) -> None:
    *_, mean, worst = boards.markdown(summary).strip().splitlines()
    assert mean.startswith("| mean of 5 |")
    assert worst.startswith("| worst adaptive |  | – | ")
    assert worst.count("(wanet)") + worst.count("(badnets)") == 4


def test_a_board_of_older_days_has_no_worst_case() -> None:
    assert "worst" not in boards.markdown(boards.summarise(frame()))


def test_metrics_are_nested_numbers() -> None:
    nested = boards.metrics(boards.summarise(frame()))
    cell = nested["digits"]["convnet"]["badnets"]["0.1"]["ft"]
    assert cell == {"c_acc": 0.93, "asr": 0.2, "ra": 0.1}


def test_means_are_compared_as_cells_are() -> None:
    published = frame().assign(dataset="cifar10", model="preactresnet18", c_acc=0.91)
    shifted = published.assign(asr=[0.95, 0.1, 0.99, 0.0, 0.91, 0.05])  # their mean is published
    summary = boards.summarise(shifted).set_index("defense")
    assert summary.loc["none", "published_asr"] == 0.9503
    assert summary.loc["none", "comparison"] == "within"
    assert summary.loc["ft", "comparison"] == "within"
    assert set(compare.judge(shifted)["comparison"]) == {"within", "outside"}
