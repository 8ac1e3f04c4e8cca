"""docs/cifar10.md says of a made-up board what the board says."""

from pathlib import Path
from typing import Any

import cifar10
import pandas as pd

from bdb import registry
from bdb.report import kept, readme

ROOT = Path(__file__).resolve().parents[2]


def row(attack: str, defense: str, asr: float, **more: Any) -> dict[str, Any]:
    return {
        "dataset": "cifar10", "model": "airbench94", "attack": attack, "defense": defense,
        "poison_ratio": 0.1 if attack == "badnets" else 0.0, "seed": 0, "recipe": "airbench",
        "clean_set": "seen", "setting": "", "failed_attack": False, "c_acc": 0.93, "asr": asr,
        "ra": 0.99 - asr, "psnr": "", "seconds": "60",
    } | more  # fmt: skip


def board() -> pd.DataFrame:
    rows = [
        row("ribac", "none", 0.3, failed_attack=True, psnr="36.04", seconds="330"),
        row("badnets", "none", 0.96, psnr="27.31"),
        row("none", "none", 0.01, psnr=""),
        row("badnets", "clp", 0.195),
    ]
    return pd.DataFrame(rows)


def test_victims_stand_beside_the_published_board_and_their_papers() -> None:
    lines = cifar10.text(board()).splitlines()
    assert lines[0].startswith("| attack | ratio | C-Acc | ASR | RA | PSNR dB | minutes |")
    assert lines[2:5] == [
        "| no attack | – | 93.0 | 1.0 | 98.0 |  | 1 |  |  |",
        "| badnets | 0.1 | 93.0 | 96.0 | 3.0 | 27.3 | 1 | 91.3 / 95.0 |  |",
        "| ribac (failed) | – | 93.0 | 30.0 | 69.0 | 36.0 | 6 |  | 94.4 / 100 |",
    ]
    assert "| badnets | 0.1 | here | 93.0 / 96.0 | 93.0 / 19.5 |" in lines


def test_what_was_not_run_is_named() -> None:
    assert "imported" in registry.names("attack")
    lacking = cifar10.missing({"badnets", "none"})
    assert "sig" in lacking
    assert not {"badnets", "none", "imported"} & set(lacking)
    everything = cifar10.missing(set(registry.names("attack")))
    assert everything == []


def test_the_page_is_filled_from_the_kept_board(tmp_path: Path) -> None:
    (tmp_path / "cifar10.md").write_text("# Title\n<!-- cifar10 -->\n<!-- /cifar10 -->\nend\n")
    board().to_csv(tmp_path / "board.csv", index=False)
    cifar10.main(["--board", str(tmp_path / "board.csv"), "--docs", str(tmp_path)])
    page = (tmp_path / "cifar10.md").read_text()
    assert page.startswith("# Title\n<!-- cifar10 -->\n| attack | ratio |")
    assert "Not run: adap_blend, adap_patch" in page
    assert page.endswith("end\n")


def test_the_page_holds_what_the_kept_board_says() -> None:
    begin, end = readme.markers("cifar10")
    board = ROOT / "results" / "boards" / f"{cifar10.BOARD}.csv"
    made = cifar10.text(kept.read([str(board)], cifar10.COSTS))
    page = (ROOT / "docs" / "cifar10.md").read_text()
    assert page.partition(begin)[2].partition(end)[0] == f"\n{made}", "run `make pages`"
