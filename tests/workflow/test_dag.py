"""The whole workflow on the smoke preset, as a user runs it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bdb import artifacts

RUN = "digits/convnet/badnets/0.1/s0"


@pytest.fixture(scope="module")
def done(new_project: Callable[..., Any]) -> Any:
    project = new_project()
    project.params["training"]["epochs"] = 12
    project.save()
    ran = project.snakemake()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return project


def test_the_board_holds_every_cell(done: Any) -> None:
    board = pd.read_csv(done.folder / "results" / "board.csv")
    assert list(board["defense"]) == ["none", "ac", "strip"]
    victim = board.iloc[0]
    assert victim["c_acc"] > 0.95
    assert victim["asr"] > 0.95
    assert victim["psnr"] > 15
    detected = board.set_index("defense")
    assert 0 <= detected.loc["ac", "train_fpr"] < 0.5
    assert detected.loc["strip", "inputs_auroc"] > 0.5
    assert board["command"].str.startswith("snakemake --cores all --force -- results/").all()
    assert not board.columns.intersection(["seconds", "memory_mb"]).size


def test_costs_have_a_table_of_their_own_and_stand_in_the_full_board(done: Any) -> None:
    costs = pd.read_csv(done.folder / "results" / "costs.csv")
    full = artifacts.read_table(done.folder / "results" / "board.parquet")
    for table in (costs, full):
        assert list(table["defense"]) == ["none", "ac", "strip"]
        assert (table["seconds"] > 0).all()
        assert (table["memory_mb"] > 0).all()


def test_the_time_of_a_detector_holds_that_of_the_features_it_shares(done: Any) -> None:
    run = "digits/convnet/badnets/0.1/s0"
    results = done.folder / "results"
    features, cell = (
        artifacts.read_json(results / folder / "provenance.json")["seconds"]
        for folder in (f"features/{run}", f"cells/{run}/ac")
    )
    costs = pd.read_csv(results / "costs.csv").set_index("defense")
    assert costs.loc["ac", "seconds"] == pytest.approx(features + cell, abs=1e-5)


def test_provenance_says_where_a_cell_comes_from(done: Any) -> None:
    cell = done.folder / "results" / "cells" / RUN / "ac"
    record = artifacts.read_json(cell / "provenance.json")
    assert record["stage"] == "defend"
    assert record["params"]["training"] == {"recipe": "fast", "epochs": 12}
    assert record["fields"]["dimensions"] == 10
    assert record["device"] == "cpu"
    assert record["threads"] == 1  # what the rule says, whatever the machine has
    assert artifacts.read_metadata(cell / "model.safetensors")["origin"]["code"] == record["code"]


def test_the_predictions_agree_with_the_model(done: Any) -> None:
    from bdb.attacks import poisoning
    from bdb.models import base as models
    from bdb.training import inference

    model = models.load(done.folder / "results" / "victims" / RUN / "model.safetensors")
    poison = poisoning.load(done.folder / "data" / "poisoned" / RUN / "poison.safetensors")
    table = artifacts.read_table(done.folder / "results" / "victims" / RUN / "predictions.parquet")
    triggered = table[table["split"] == "triggered"]
    assert (triggered["label"] != triggered["target"]).all()
    logits = inference.logits(model, poison.test.images)
    assert (logits.argmax(1).numpy() == triggered["predicted"].to_numpy()).mean() > 0.99


def test_features_are_of_the_training_set_as_given(done: Any) -> None:
    from bdb.attacks import poisoning
    from bdb.defenses import features
    from bdb.models import base as models
    from bdb.training import inference

    found = features.load(done.folder / "results" / "features" / RUN / "features.safetensors")
    scores = artifacts.read_table(done.folder / "results" / "cells" / RUN / "ac/scores.parquet")
    poison = poisoning.load(done.folder / "data" / "poisoned" / RUN / "poison.safetensors")
    model = models.load(done.folder / "results" / "victims" / RUN / "model.safetensors")
    rows = np.searchsorted(scores["index"].to_numpy(), poison.plan.ids.numpy())
    expected = inference.features(model, poison.images)
    torch.testing.assert_close(found.train.penultimate[rows], expected)


def test_extracting_features_says_so_in_one_line(done: Any) -> None:
    said = (done.folder / "logs" / "features" / f"{RUN}.log").read_text()
    assert said == f"{RUN}: 64 features of 1146 training and 287 clean images\n"


def test_features_come_with_their_provenance(done: Any) -> None:
    folder = done.folder / "results" / "features" / RUN
    record = artifacts.read_json(folder / "provenance.json")
    assert record["stage"] == "features"
    origin = artifacts.read_metadata(folder / "features.safetensors")["origin"]
    assert origin["code"] == record["code"]


def test_a_second_run_has_nothing_to_do(done: Any) -> None:
    assert done.planned() == {}


def test_a_changed_field_replans_its_cells_alone(done: Any) -> None:
    done.params["defenses"] = {"strip": {"false_positive_rate": 0.2}}
    done.save()
    assert done.planned() == {"detect": 1, "evaluate": 1, "report": 1, "record": 1}
    del done.params["defenses"]
    done.save()
    assert done.planned() == {}


@pytest.mark.evidence
def test_a_tool_that_is_told_to_looks_at_defended_and_clean_models_too(done: Any) -> None:
    done.params["analyses"] = {"triggers": {"of": ["victim", "clean_model", "defended"]}}
    done.save()
    planned = done.planned()
    assert {name: planned[name] for name in ("clean", "analyze_cell")} == {
        "clean": 1,
        "analyze_cell": 2,  # of the clean model, and under `ac`; `strip` only detects
    }
    assert "defend" not in planned
    ran = done.snakemake("analyze_all")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    folder = done.folder / "results" / "analyses" / RUN
    assert "the victim under ac answers" in (folder / "ac" / "triggers.svg").read_text()
    clean = artifacts.read_table(folder / "clean_model" / "triggers.parquet")
    assert (clean["predicted_triggered"] == clean["target"]).mean() < 0.2
    del done.params["analyses"]
    done.save()


def test_a_deleted_intermediate_is_made_again(done: Any) -> None:
    victim = done.folder / "results" / "victims" / RUN
    kept = (victim / "history.parquet").read_bytes()
    (victim / "history.parquet").unlink()
    assert done.planned()["train"] == 1
    (victim / "history.parquet").write_bytes(kept)


def test_snakemakes_own_report(done: Any) -> None:
    ran = done.snakemake("--report", "report.zip")
    assert ran.returncode == 0, ran.stderr
    assert (done.folder / "report.zip").stat().st_size > 10_000


def test_planning_does_not_import_torch(done: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden = done.folder / "forbidden"
    forbidden.mkdir()
    (forbidden / "torch.py").write_text("raise ImportError('torch was imported')\n")
    monkeypatch.setattr(done, "environment", dict(done.environment))
    done.search(forbidden)
    ran = done.snakemake("-n")
    assert ran.returncode == 0, ran.stderr
