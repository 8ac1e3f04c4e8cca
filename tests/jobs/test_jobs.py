"""Which jobs there are, and what they read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bdb import layout, params, presets
from bdb.errors import ParamsError
from bdb.jobs import catalogue, plan
from bdb.jobs.jobs import STAGES, Jobs
from bdb.layout import Run

CATALOGUE = catalogue.load()
POISONED = Run("digits", "convnet", "badnets", "0.1", 0)


def planned(**grid: Any) -> Jobs:
    raw = yaml.safe_load(presets.text("smoke"))
    raw["grid"] |= grid
    return Jobs(plan.make(params.parse(raw, CATALOGUE), CATALOGUE))


def test_features_are_extracted_once_per_victim() -> None:
    jobs = planned(attack=["none", "badnets"], defense=["ft", "ac", "spectral"])
    runs = [job.arguments for job in jobs.of("features")]
    assert runs == [(str(POISONED.control),), (str(POISONED),)]


def test_without_a_defense_that_needs_them_there_are_no_features() -> None:
    assert list(planned(defense=["ft", "strip"]).of("features")) == []


def test_a_cell_reads_features_only_if_its_defense_needs_them() -> None:
    jobs = planned(defense=["ac", "spectral", "ft"])
    reading = [
        job.arguments[1] for job in jobs.of("defend") if layout.features(POISONED) in job.inputs
    ]
    assert reading == ["ac", "spectral"]


def test_a_cell_leaves_evidence_only_if_its_defense_declares_some() -> None:
    jobs = planned(defense=["nc", "ac", "ft"])
    leaving = [
        job.arguments[1]
        for job in jobs.of("defend")
        if layout.evidence(POISONED, job.arguments[1]) in job.outputs
    ]
    assert leaving == ["nc"]
    read = [path for path in jobs.report().inputs if path.name == "evidence.safetensors"]
    assert read == [layout.evidence(POISONED, "nc")]


def test_features_hang_on_the_victim_and_not_on_the_defenses() -> None:
    made = planned(attack=["none", "wanet"], defense=["ac", "spectral"])
    poisoned = replace(POISONED, attack="wanet")
    assert made.features(poisoned).inputs == (
        layout.prepared("digits", "train"),
        layout.model(poisoned),
        layout.victim(poisoned) / "poison.safetensors",
    )
    assert list(made.features(poisoned).params) == ["clean_set"]
    alone = planned(attack=["none", "wanet"], defense=["ac"]).features(poisoned)
    assert alone == made.features(poisoned)


def test_every_job_comes_after_those_that_it_reads() -> None:
    jobs = planned(attack=["none", "badnets", "wanet", "lf"], defense=["ac", "ft"])
    made: set[Any] = set()
    for job in jobs:
        assert made.issuperset(job.inputs), job.name
        made.update(job.outputs)
    assert {job.stage for job in jobs} == set(STAGES) - {"clean", "surrogate"}


def test_what_builds_a_model_reads_the_weights_that_the_user_brings(tmp_path: Path) -> None:
    own = tmp_path / "own.safetensors"
    raw = yaml.safe_load(presets.text("smoke"))
    raw["grid"] |= {"model": ["vit_b_16", "vit"], "attack": ["badnets"], "analysis": []}
    raw["models"] = {
        "vit": {"method": "vit_b_16", "weights": str(own)},
        "vit_b_16": {"weights": "imagenet"},
    }
    made = Jobs(plan.make(params.parse(raw, CATALOGUE), CATALOGUE))
    with pytest.raises(ParamsError, match=r"^models.vit.weights: /.*own.safetensors is no file"):
        list(made)
    own.write_bytes(b"any")
    reading = {(job.stage, own in job.inputs) for job in made if "/vit/" in job.name}
    of_models = {("train", True), ("features", True), ("defend", True)}
    assert reading == of_models | {("poison", False), ("evaluate", False)}
    assert not any(own in job.inputs for job in made if "/vit_b_16/" in job.name)
