"""The population as a grid: which models, which jobs."""

import pytest
import yaml

from bdb import params, presets
from bdb.jobs import catalogue, plan
from bdb.jobs.jobs import Jobs

CATALOGUE = catalogue.load()


@pytest.mark.parametrize(
    ("preset", "clean", "backdoored", "detectors"),
    [
        ("population", 50, 56, {"bti_dbf", "freeeagle", "head_norm", "mm_bd", "nc"}),
        ("population_cifar10", 28, 24, {"freeeagle", "head_norm", "mm_bd", "nc"}),
    ],
)
def test_there_are_enough_models_and_every_detector_judges_each(
    preset: str, clean: int, backdoored: int, detectors: set[str]
) -> None:
    raw = yaml.safe_load(presets.text(preset))
    made = plan.make(params.parse(raw, CATALOGUE), CATALOGUE)
    assert sum(run.is_clean for run in made.runs) == clean
    assert sum(not run.is_clean for run in made.runs) == backdoored
    assert f"{clean} clean and {backdoored} backdoored models" in presets.text(preset)
    assert not made.left_out
    assert all(set(made.defenses[run]) == detectors for run in made.runs)


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
