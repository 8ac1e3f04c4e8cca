"""C-Acc, ASR, RA of a prediction table, and DER, RIR of a defense."""

from __future__ import annotations

import math

import pandas as pd

Rates = dict[str, float]


def rates(table: pd.DataFrame) -> Rates:
    """Clean accuracy, attack success rate, robust accuracy: fractions.

    ASR and RA are over the triggered images, none of which is of its own target's class. A
    rejected input (predicted -1) counts as neither right nor fooled.
    """
    clean = table[table["split"] == "test"]
    triggered = table[table["split"] == "triggered"]
    return {
        "c_acc": float((clean["predicted"] == clean["label"]).mean()),
        "asr": float((triggered["predicted"] == triggered["target"]).mean()),
        "ra": float((triggered["predicted"] == triggered["label"]).mean()),
    }


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
