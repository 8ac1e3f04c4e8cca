"""Frames as `bdb.report.board` makes them, by formula: no training."""

import math
import re
import zlib

import pandas as pd
import pytest

from bdb.report import board as boards

ATTACKS = ("badnets", "blended", "sig", "wanet")
DEFENSES = ("none", "ac", "anp", "ft", "nc")


def _row(attack: str, ratio: float, seed: int, defense: str) -> dict[str, object]:
    spread = zlib.crc32(f"{attack}{ratio}{seed}{defense}".encode()) / 2**32
    weak = {"none": 1.0, "ac": 0.9, "anp": 0.15, "ft": 0.4, "nc": 0.05}[defense]
    detects = defense == "ac"
    return {
        "dataset": "digits",
        "model": "convnet",
        "attack": attack,
        "poison_ratio": ratio,
        "seed": seed,
        "defense": defense,
        "recipe": "fast",
        "clean_set": "reserved",
        "setting": "",
        "c_acc": 0.98 - 0.03 * (1 - weak) - 0.01 * spread,
        "asr": 0.02 if attack == "none" else min(1.0, weak * (0.9 + 0.1 * spread)),
        "ra": 0.9 * (1 - weak),
        "der": 0.5 + 0.5 * (1 - weak),
        "rir": math.nan if defense == "none" else 0.4,
        "failed_attack": False,
        "adaptive": defense != "none" and (attack == "wanet" or 0 < ratio <= 0.01),
        "validity": "",
        "comparison": "",
        "reason": "",
        "train_auroc": 0.7 + 0.2 * spread if detects else math.nan,
        "train_tpr": 0.8 if detects else math.nan,
        "backdoored": {"nc": attack != "none"}.get(defense),
        "suspected_targets": "0" if defense == "nc" else "",
        "targets": "" if attack == "none" else "0",
        "suspect": 0.0 if defense == "nc" else math.nan,
        "score": 4 * spread if defense == "nc" else math.nan,
        "p_value": 0.25 if defense == "nc" else math.nan,
        "calibration": "3 clean models" if defense == "nc" else "",
        "psnr": 20.0 + 10 * spread,
        "ssim": 0.9,
        "seconds": 10 + 5 * spread,
        "memory_mb": 500.0,
        "device": "cpu",
        "torch": "2.13.0",
        "bdb": "0.1.0",
        "git": "abc1234",
        "code": "0123abcd",
        "command": f"snakemake -- 'digits/convnet/{attack}/{ratio:g}/s{seed}' '{defense} <&>'",
    }


@pytest.fixture(scope="session")
def board() -> pd.DataFrame:
    """Four attacks and the control x five defenses x three seeds, two ratios of the first."""
    victims = [("none", 0.0), *((attack, 0.1) for attack in ATTACKS), ("badnets", 0.01)]
    rows = [
        _row(attack, ratio, seed, defense)
        for attack, ratio in victims
        for seed in range(3)
        for defense in DEFENSES
    ]
    return pd.DataFrame(rows, columns=pd.Index(boards.COLUMNS))


@pytest.fixture(scope="session")
def summary(board: pd.DataFrame) -> pd.DataFrame:
    return boards.summarise(board)


@pytest.fixture
def texts():
    """The text elements of an SVG file."""

    def read(path) -> list[str]:
        return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())

    return read
