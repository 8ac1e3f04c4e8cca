"""evaluate: arithmetic on the tables of a run and of its cells; no model, no torch, no GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bdb import artifacts, layout
from bdb.console import say
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.metrics import classification, detection


def run(jobs: Jobs, run: Run) -> None:
    """Write the metrics of a run and of each of its cells."""
    victim_table = artifacts.read_table(layout.victim(run) / "predictions.parquet")
    victim = classification.rates(victim_table)
    poisoned = _poisoned_ids(jobs, run)
    defenses = jobs.plan.defenses[run]
    cells = {name: _cell(run, name, victim, poisoned) for name in defenses}
    record = {"run": str(run), "victim": classification.finite(victim), "cells": cells}
    artifacts.write_json(layout.metrics(run), record)
    say(f"{run}: {len(cells)} cells evaluated")


def _cell(
    run: Run, name: str, victim: classification.Rates, poisoned: np.ndarray
) -> dict[str, Any]:
    folder = layout.cell(run, name)
    rates = classification.rates(artifacts.read_table(folder / "predictions.parquet"))
    rates["der"] = classification.defense_effectiveness(victim, rates)
    rates["rir"] = classification.robust_improvement(victim, rates)
    scores = artifacts.read_table(folder / "scores.parquet")
    detected = {
        str(split): classification.finite(_detection(table, poisoned))
        for split, table in scores.groupby("split")
    }
    return {**classification.finite(rates), "detection": detected}


def _detection(table: pd.DataFrame, poisoned: np.ndarray) -> dict[str, float]:
    """Scores against the truth: poisoned training samples, or triggered inputs."""
    is_train = (table["source"] == "train").to_numpy()
    in_train = is_train & table["index"].isin(poisoned).to_numpy()
    truth = in_train | (table["source"] == "triggered").to_numpy()
    flagged = table["flagged"].to_numpy(dtype=bool)
    scores = table["score"].to_numpy(dtype=float)
    return {**detection.rates(truth, flagged), **detection.ranking(truth, scores)}


def _poisoned_ids(jobs: Jobs, run: Run) -> np.ndarray:
    """Which training samples carry the trigger and the target; covers and noise do not."""
    if run.is_clean:
        return np.empty(0, dtype=np.int64)
    path = layout.poison(run, jobs.controls_training(run))
    arrays = artifacts.read_some_arrays(path, ["train_ids", "is_poison"])
    ids: np.ndarray = arrays["train_ids"][arrays["is_poison"]]
    return ids
