"""The population as a grid: which models, which jobs."""

import yaml

from bdb import params, presets
from bdb.jobs import catalogue, plan
from bdb.jobs.jobs import Jobs

CATALOGUE = catalogue.load()


def test_there_are_enough_models_and_every_detector_judges_each() -> None:
    raw = yaml.safe_load(presets.text("population"))
    made = plan.make(params.parse(raw, CATALOGUE), CATALOGUE)
    clean = [run for run in made.runs if run.is_clean]
    assert min(len(clean), len(made.runs) - len(clean)) >= 50
    assert not made.left_out
    detectors = {"bti_dbf", "freeeagle", "head_norm", "mm_bd", "nc"}
    assert all(set(made.defenses[run]) >= detectors for run in made.runs)


def test_clean_models_need_no_poison_and_are_trained_as_they_say() -> None:
    raw = yaml.safe_load(presets.text("population"))
    jobs = Jobs(plan.make(params.parse(raw, CATALOGUE), CATALOGUE))
    poisoned = {job.arguments[0].split("/")[2] for job in jobs.of("poison")}
    trained = {job.arguments[0].split("/")[2] for job in jobs.of("train")}
    assert trained - poisoned == {"none_augmented", "none_long", "none_robust"}
    assert len(list(jobs.of("clean"))) == 26
    robust = next(job for job in jobs.of("train") if "none_robust" in job.arguments[0])
    assert robust.params["attacks.none_robust"]["eps"] == 16
    report = jobs.report()
    assert {"population.csv", "population.md", "roc.svg"} <= {path.name for path in report.outputs}
