"""C-Acc, ASR, RA of a prediction table, and DER, RIR of a defense."""

from __future__ import annotations

import math

import pandas as pd

Rates = dict[str, float]


def rates(table: pd.DataFrame) -> Rates:
    """Clean accuracy, attack success rate, robust accuracy: fractions.

    ASR and RA are over the triggered images of the classes that the trigger is meant for, none of
    which is of its own target's class. `asr_worst` is the lowest ASR of a target, where there are
    several; `asr_leak` is the ASR over the classes that the trigger is not meant for. What there is
    nothing to measure by is NaN. A rejected input (predicted -1) is neither right nor fooled.
    """
    clean = table[table["split"] == "test"]
    triggered = table[table["split"] == "triggered"]
    meant = triggered["is_source"].astype(bool)
    source, other = triggered[meant], triggered[~meant]
    return {
        "c_acc": float((clean["predicted"] == clean["label"]).mean()),
        "asr": float(_fooled(source).mean()),
        "asr_worst": _worst(source),
        "asr_leak": float(_fooled(other).mean()),
        "ra": float((source["predicted"] == source["label"]).mean()),
    }


def _fooled(triggered: pd.DataFrame) -> pd.Series:
    return triggered["predicted"] == triggered["target"]


def _worst(triggered: pd.DataFrame) -> float:
    """The lowest ASR of a target: of one target alone it is no news."""
    by_target = _fooled(triggered).groupby(triggered["target"]).mean()
    return float(by_target.min()) if len(by_target) > 1 else math.nan


def cross_accuracy(table: pd.DataFrame) -> float:
    """Accuracy on test images with a trigger that must not work; NaN if the attack has none.

    Input-aware (Nguyen & Tran, NeurIPS 2020) puts on them another image's trigger, WaNet (Nguyen &
    Tran, ICLR 2021) a noisy warp. A backdoor that any such trigger opens is not what was published.
    """
    crossed = table[table["split"] == "cross"]
    return float((crossed["predicted"] == crossed["label"]).mean())


def defense_effectiveness(victim: Rates, defended: Rates) -> float:
    """DER in [0, 1]: half of (ASR drop - C-Acc loss + 1); 0.5 is a defense that does nothing.

    BackdoorBench (Wu et al., NeurIPS 2022) adds the accuracy loss in its code; the sign here is
    the published formula's: a defense pays for the accuracy that it costs.
    """
    gain = max(0.0, victim["asr"] - defended["asr"])
    return (gain - max(0.0, victim["c_acc"] - defended["c_acc"]) + 1) / 2


def robust_improvement(victim: Rates, defended: Rates) -> float:
    """RIR in [0, 1]: half of (RA gain - C-Acc loss + 1)."""
    gain = max(0.0, defended["ra"] - victim["ra"])
    return (gain - max(0.0, victim["c_acc"] - defended["c_acc"]) + 1) / 2


def finite(values: Rates) -> dict[str, float | None]:
    """The same for JSON, where what is not a number is null."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}
