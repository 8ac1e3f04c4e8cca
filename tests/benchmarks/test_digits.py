"""docs/digits.md says of a made-up board what the board says."""

from pathlib import Path
from typing import Any

import digits
import pandas as pd
import pytest


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "MANY", 1)


def row(attack: str, defense: str, c_acc: float, asr: float, loss: float) -> dict[str, Any]:
    ratio = 0.0 if attack == "none" else 0.1
    return {
        "attack": attack, "poison_ratio": ratio, "defense": defense, "seeds": 2,
        "failed_attack": attack == "lf", "failed_seeds": int(attack == "wanet"),
        "c_acc_mean": c_acc, "asr_mean": asr, "asr_max": asr + 0.1, "c_acc_loss_mean": loss,
    }  # fmt: skip


def board() -> pd.DataFrame:
    rows = [
        row(attack, "none", 0.99, 0.0 if attack == "none" else 1.0, 0.0)
        for attack in ("badnets", "lf", "none", "wanet")
    ]
    rows += [
        row("none", "ft", 0.97, 0.0, 0.02),
        row("badnets", "ft", 0.97, 0.01, 0.02),
        row("wanet", "ft", 0.85, 0.01, 0.14),  # No backdoor, and no accuracy.
        row("lf", "ft", 0.97, 0.01, 0.02),  # Never was a backdoor.
        row("badnets", "strip", 0.95, 0.4, 0.04),
        row("wanet", "strip", 0.95, 0.15, 0.04),  # On average, not with every seed.
        row("badnets", "head_norm", 0.99, 1.0, 0.0),  # Says something of the model, and no more.
    ]
    return pd.DataFrame(rows)


def test_what_keeps_accuracy_and_ends_a_backdoor_that_was_there_stops_it() -> None:
    lines = digits.text(board()).splitlines()
    assert lines[0].startswith("C-Acc / ASR in %, means of 2 seeds")
    table = [line for line in lines if line.startswith("| ")]
    assert "| none | – | 99.0 / 0.0 | 97.0 / 0.0 |  |" in table
    assert "| badnets | 0.1 | 99.0 / 100.0 | **97.0 / 1.0** | 95.0 / 40.0 |" in table
    assert "| lf (failed) | 0.1 | 99.0 / 100.0 | 97.0 / 1.0 |  |" in table
    assert (
        "| wanet (failed on 1 of 3 seeds) | 0.1 | 99.0 / 100.0 | 85.0 / 1.0 | **95.0 / 15.0** |"
        in table
    )
    assert "| ft | 1 of 2 | 1 of 2 | badnets | wanet |" in table
    assert "| strip | 1 of 2 | 0 of 2 | wanet | badnets |" in table
    assert "| strip | inference |  | 95.0 / 40.0 |  | **95.0 / 15.0** |" in table
    assert not any("head_norm" in line for line in table)


def test_the_page_is_filled_from_what_a_run_left(tmp_path: Path) -> None:
    run, docs = tmp_path / "run", tmp_path / "docs"
    for folder in (run / "results", docs):
        folder.mkdir(parents=True)
    board().to_csv(run / "results" / "summary.csv", index=False)
    (docs / "digits.md").write_text("# Digits\n<!-- digits -->\n<!-- /digits -->\nHow to read it\n")
    digits.main(["--run", str(run), "--docs", str(docs)])
    page = (docs / "digits.md").read_text()
    assert page.startswith("# Digits\n")
    assert page.endswith("How to read it\n")
    assert "| ft | 1 of 2 | 1 of 2 | badnets | wanet |" in page
    assert "strength: 2.0" in page  # wanet's, in the preset
    assert (docs / "digits.csv").read_text() == (run / "results" / "summary.csv").read_text()
