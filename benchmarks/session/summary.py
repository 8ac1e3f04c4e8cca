"""What gpu.py prints: every table, and the targets with what was measured of them."""

from __future__ import annotations

import math
from statistics import mean

import common
import training
import triggers
from common import Record, figure, percent, value

from bdb.layout import Run
from session import together


def targets(record: Record) -> list[Record]:
    """What is promised, and what was measured of it; None where it was not."""
    results = record["results"]
    loops = {row["loop"]: row for row in results.get("loops", ())}
    victims = {
        name: [each for each in results.get("victims", ()) if each["recipe"] == name]
        for name in ("paper", "fast", "airbench")
    }
    quick = victims["airbench"]
    baseline = loops.get(training.BASELINE, {})
    paces = [value(each["throughput"]) for each in victims["paper"]]
    jobs = [value(each["job"]) for each in victims["paper"]]
    asr = {name: _mean(each, "asr") for name, each in victims.items()}
    found = {
        "paper: images/s, of the baseline's in training": (
            _quotient(_first(paces), value(baseline.get("throughput"))), "x", 10, 1,
        ),
        "paper: baseline's seconds to the end, of the whole job's": (
            _quotient(value(baseline.get("to_end")), _first(jobs)), "x", 10, 1,
        ),
        "airbench: control's C-Acc": (_mean(_of(quick, "none"), "c_acc"), "%", 93.5, 1),
        "airbench: C-Acc": (_mean(_of(quick, "badnets"), "c_acc"), "%", 92.5, 1),
        "airbench: ASR": (_mean(_of(quick, "badnets"), "asr"), "%", 94, 1),
        "fast: C-Acc": (_mean(victims["fast"], "c_acc"), "%", 93, 1),
        "fast: ASR, points from paper's": (abs(asr["fast"] - asr["paper"]), "points", 2, -1),
        "fast: training": (_mean(victims["fast"], "training"), "s", 30, -1),
        "fast: whole job": (_mean(victims["fast"], "job"), "s", 30, -1),
    }  # fmt: skip
    return [_target(name, *each) for name, each in found.items()]


def _target(name: str, measured: float, unit: str, wanted: float, sign: int) -> Record:
    """A target: at least (1), or at most (-1), what is wanted."""
    is_known = not math.isnan(measured)
    return {
        "target": f"{name} {'>=' if sign > 0 else '<='} {wanted:g} {unit}",
        "measured": figure(measured, unit) if is_known else None,
        "met": bool(sign * (measured - wanted) >= 0) if is_known else None,
    }


def _of(victims: list[Record], attack: str) -> list[Record]:
    return [each for each in victims if f"/{attack}/" in each["run"]]


def _first(numbers: list[float]) -> float:
    return numbers[0] if numbers else float("nan")


def _mean(rows: list[Record], name: str) -> float:
    return mean(value(row.get(name)) for row in rows) if rows else float("nan")


def _quotient(dividend: float, divisor: float) -> float:
    return dividend / divisor if divisor else float("nan")


def table(record: Record) -> str:
    """Everything, the targets last."""
    results = record["results"]
    parts = [
        training.table(record),
        together.table(results.get("jobs", [])),
        _victims_table(results.get("victims", [])),
        triggers.table(record),
        _board_table(results.get("board", [])),
        _targets_table(results.get("targets", [])),
    ]
    return "\n".join(parts)


def _victims_table(victims: list[Record]) -> str:
    rates, costs = ("C-Acc %", "ASR %", "RA %"), ("training s", "job s", "images/s")
    rows = (
        (
            *(victim["recipe"], Run.parse(victim["run"]).attack, victim["seed"]),
            *(percent(victim.get(name)) for name in ("c_acc", "asr", "ra")),
            *(value(victim[name]) for name in ("training", "job", "throughput")),
        )
        for victim in victims
    )
    return common.markdown(("recipe", "attack", "seed", *rates, *costs), rows)


def _board_table(board: list[Record]) -> str:
    header = ("attack", "ratio", "seed", "recipe", "defense", "C-Acc %", "ASR %", "RA %", "s")
    rows = (
        (
            *(row["attack"], f"{row['poison_ratio']:g}", row["seed"], row["recipe"]),
            row["defense"],
            *(row[name] and f"{100 * row[name]:.2f}" for name in ("c_acc", "asr", "ra")),
            row["seconds"],
        )
        for row in board
    )
    return common.markdown(header, rows)


def _targets_table(found: list[Record]) -> str:
    answers = {True: "yes", False: "no", None: "not measured"}
    rows = ((each["target"], value(each["measured"]), answers[each["met"]]) for each in found)
    return common.markdown(("target", "measured", "met"), rows)
