"""A failed attack is marked with the reason, and counts in no average."""

import pandas as pd
import pytest

from bdb.report import board as boards
from bdb.report import validity


def frame(*victims: tuple[str, int, float, float], control: float | None = 0.95) -> pd.DataFrame:
    """Undefended victims (attack, seed, C-Acc, ASR), one defended cell of each, and the control."""
    seeds = sorted({seed for _, seed, *_ in victims})
    clean = [("none", seed, control, 0.0) for seed in seeds if control is not None]
    rows = []
    for attack, seed, c_acc, asr in (*clean, *victims):
        for defense, after in (("none", asr), ("ft", asr / 2)):
            rows.append(
                {
                    "dataset": "digits", "model": "convnet", "attack": attack, "seed": seed,
                    "poison_ratio": 0.0 if attack == "none" else 0.1, "defense": defense,
                    "recipe": "fast", "clean_set": "reserved", "setting": "",
                    "c_acc": c_acc, "asr": after, "ra": 0.1, "der": 0.5, "seconds": 1.0,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def judged(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**validity.judge(table))


def verdict(table: pd.DataFrame) -> tuple[bool, str]:
    row = judged(table).query("attack == 'a' and defense == 'none'").iloc[0]
    return bool(row["failed_attack"]), str(row["validity"])


def test_an_attack_that_works_has_not_failed() -> None:
    assert verdict(frame(("a", 0, 0.92, 0.8))) == (False, "")


def test_too_low_an_asr_is_a_failure_of_all_its_cells() -> None:
    table = judged(frame(("a", 0, 0.95, 0.79)))
    assert table.query("attack == 'a'")["failed_attack"].all()
    assert not table.query("attack == 'none'")["failed_attack"].any()
    assert "ASR 79.0 % is below 80 %" in verdict(frame(("a", 0, 0.95, 0.79)))[1]


def test_so_is_too_high_a_price() -> None:
    failed, reason = verdict(frame(("a", 0, 0.91, 1.0)))
    assert failed
    assert "C-Acc 4.0 points below the control's, more than 3" in reason


def test_without_a_control_only_the_asr_is_judged_and_that_is_said() -> None:
    assert verdict(frame(("a", 0, 0.5, 1.0), control=None)) == (False, validity.NO_CONTROL)


def test_a_seed_that_failed_counts_in_no_mean() -> None:
    table = judged(frame(("a", 0, 0.95, 1.0), ("a", 1, 0.95, 0.2), ("a", 2, 0.95, 0.9)))
    row = boards.summarise(table).query("attack == 'a' and defense == 'none'").iloc[0]
    assert row["asr_mean"] == pytest.approx(0.95)
    assert (row["seeds"], row["failed_seeds"], row["failed_attack"]) == (2, 1, False)


def test_a_failed_attack_is_shown_and_left_out_of_the_average_over_attacks() -> None:
    table = judged(frame(("a", 0, 0.95, 1.0), ("b", 0, 0.95, 0.9), ("c", 0, 0.95, 0.1)))
    text = boards.markdown(boards.summarise(table))
    assert "| c (failed attack) | 0.1 | 95.0 / 10.0 |" in text
    assert "| mean of 2 |  | 95.0 / 95.0 | 95.0 / 47.5 |" in text


def test_an_attack_that_changes_the_training_is_judged_by_the_control_trained_so() -> None:
    """Here the change itself costs five points, and the attack none."""
    table = frame(("a", 0, 0.90, 1.0), ("b", 0, 0.90, 1.0))
    own = table[table["attack"] == "none"].assign(
        attack="none_a", c_acc=0.90, setting="none_a.method=none none_a.trained_as=a"
    )
    found = judged(pd.concat([table, own], ignore_index=True)).drop_duplicates("attack")
    failed = dict(zip(found["attack"], found["failed_attack"], strict=True))
    assert failed == {"none": False, "a": False, "b": True, "none_a": False}


def test_such_a_control_counts_in_no_average_over_attacks() -> None:
    table = frame(("a", 0, 0.95, 1.0), ("b", 0, 0.95, 0.9))
    own = table[table["attack"] == "none"].assign(attack="none_a")
    summary = boards.summarise(judged(pd.concat([table, own], ignore_index=True)))
    assert "| mean of 2 |  | 95.0 / 95.0 |" in boards.markdown(summary)


def test_an_imported_victim_is_judged_by_the_control_however_that_was_trained() -> None:
    """What cells under a defense are trained by is not what the victim was."""
    table = frame(("a", 0, 0.91, 1.0)).assign(setting="training.epochs=4")
    is_a = table["attack"] == "a"
    table.loc[is_a, "recipe"] = validity.IMPORTED
    table.loc[is_a & (table["defense"] == "none"), "setting"] = "a.method=imported"
    table.loc[is_a & (table["defense"] == "ft"), "setting"] = "a.method=imported training.epochs=4"
    found = judged(table)
    assert found["failed_attack"].tolist() == is_a.tolist()
    assert found.loc[is_a, "validity"].str.contains("4.0 points below the control's").all()
