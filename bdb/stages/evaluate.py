"""evaluate: arithmetic on the tables of a run and of its cells; no model, no torch, no GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bdb import artifacts, layout
from bdb.console import say
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.metrics import certified, classification, detection


def run(jobs: Jobs, run: Run) -> None:
    """Write the metrics of a run and of each of its cells."""
    victim_table = artifacts.read_table(layout.victim(run) / "predictions.parquet")
    victim = classification.rates(victim_table)
    samples = _samples(jobs, run)
    defenses = jobs.plan.defenses[run]
    cells = {name: _cell(run, name, victim, samples) for name in defenses}
    shown = victim | {"cross_acc": classification.cross_accuracy(victim_table)}
    record = {
        "run": str(run),
        "targets": [] if run.is_clean else _targets(victim_table),
        "victim": classification.finite(shown),
        "cells": cells,
    }
    artifacts.write_json(layout.metrics(run), record)
    say(f"{run}: {len(cells)} cells evaluated")


@dataclass(frozen=True)
class Samples:
    """The truth of a run that no defense sees.

    Attributes:
        poison: int64: training samples that carry the trigger and the target.
        cross: int64: those that carry a trigger or noise under their true label.
        attacked: whether triggered inputs carry a trigger; those of the control are clean.
    """

    poison: np.ndarray
    cross: np.ndarray
    attacked: bool


def _targets(table: pd.DataFrame) -> list[int]:
    """The classes that the trigger is to lead to, ascending."""
    triggered = table[table["split"] == "triggered"]
    meant = triggered[triggered["is_source"].astype(bool)]
    return sorted(int(target) for target in meant["target"].unique())


def _cell(run: Run, name: str, victim: classification.Rates, samples: Samples) -> dict[str, Any]:
    folder = layout.cell(run, name)
    table = artifacts.read_table(folder / "predictions.parquet")
    rates = classification.rates(table)
    rates["der"] = classification.defense_effectiveness(victim, rates)
    rates["rir"] = classification.robust_improvement(victim, rates)
    scores = artifacts.read_table(folder / "scores.parquet")
    detected = {
        str(split): classification.finite(_detection(rows, samples))
        for split, rows in scores.groupby("split")
    }
    curve = {"certified": certified.curve(table)} if "certificate" in table else {}
    return {**classification.finite(rates), "detection": detected, **curve}


def _detection(table: pd.DataFrame, samples: Samples) -> dict[str, float]:
    """Scores against the truth: poisoned training samples, or triggered inputs."""
    is_train = (table["source"] == "train").to_numpy()
    triggered = (table["source"] == "triggered").to_numpy() & samples.attacked
    truth = triggered | (is_train & table["index"].isin(samples.poison).to_numpy())
    cross = is_train & table["index"].isin(samples.cross).to_numpy()
    flagged = table["flagged"].to_numpy(dtype=bool)
    scores = table["score"].to_numpy(dtype=float)
    ranked = detection.ranking(truth[~cross], scores[~cross])
    return {**detection.rates(truth, flagged, cross), **ranked}


def _samples(jobs: Jobs, run: Run) -> Samples:
    if run.is_clean:
        none = np.empty(0, dtype=np.int64)
        return Samples(none, none, attacked=False)
    path = layout.poison(run, jobs.controls_training(run))
    arrays = artifacts.read_some_arrays(path, ["train_ids", "is_poison", "is_cross"])
    ids = arrays["train_ids"]
    return Samples(ids[arrays["is_poison"]], ids[arrays["is_cross"]], attacked=True)
