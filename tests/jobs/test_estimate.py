"""What is left of a plan, and what it takes, follows from the jobs that are done."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bdb import params, presets
from bdb.jobs import catalogue, estimate, plan, plan_text
from bdb.jobs.jobs import STAGES, Jobs

CATALOGUE = catalogue.load()


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No figures come with bdb, unless a test writes some here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate, "SHIPPED", tmp_path / "costs.json")
    write(tmp_path / "costs.json")
    return tmp_path / "costs.json"


@pytest.fixture
def jobs() -> Jobs:
    return made(seed=[0, 1, 2])


def made(recipe: str = "fast", **grid: Any) -> Jobs:
    raw = yaml.safe_load(presets.text("smoke"))
    raw["training"] = {"recipe": recipe}
    raw["grid"] |= grid
    return Jobs(plan.make(params.parse(raw, CATALOGUE), CATALOGUE))


def pretend(jobs: Jobs, stage: str, count: int, seconds: float, **facts: Any) -> None:
    """Write the outputs of the first jobs of a stage: 1,000 bytes each, but for provenance."""
    for job in list(jobs.of(stage))[:count]:
        for path in job.outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            record = {"params": job.params, "code": job.code, "seconds": seconds} | facts
            text = json.dumps(record) if path.name == "provenance.json" else "x" * 1000
            path.write_text(text)


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text(json.dumps({"machine": "a box", "jobs": list(rows)}))


def row(stage: str, seconds: float, per_image: float = 0.0, **facts: Any) -> dict[str, Any]:
    """What a job of the preset takes, as it comes with bdb: 1,000 bytes."""
    kind = {"stage": stage, "dataset": "digits", "model": "convnet", "method": "", "params": {}}
    return kind | {"seconds": seconds, "per_image": per_image, "bytes": 1000} | facts


FAST = {"training": {"recipe": "fast"}}


def pretend_all(jobs: Jobs, stages: tuple[str, ...] = STAGES) -> None:
    for stage in stages:
        pretend(jobs, stage, 10**6, seconds=0.0)


def test_of_what_nothing_is_known_nothing_is_claimed(jobs: Jobs) -> None:
    found = estimate.make(jobs)
    assert found.left == found.planned
    assert (found.seconds, found.judged_by) == (0, 0)
    assert found.unknown["train badnets"] == 3
    text = plan_text.outlook(found)
    assert "not known, since none like it is done: " in text
    assert "train badnets (3)" in text
    assert "report (1)" in text
    assert "report report" not in text
    assert "judged by" not in text


def test_what_is_left_takes_what_was_taken(jobs: Jobs) -> None:
    pretend_all(jobs, ("prepare", "poison"))
    pretend(jobs, "train", 1, seconds=90.0)
    found = estimate.make(jobs)
    assert (found.planned["train"], found.left["train"]) == (3, 2)
    assert found.seconds == pytest.approx(2 * 90)
    outputs = next(jobs.of("train")).outputs
    assert found.bytes == pytest.approx(2 * sum(path.stat().st_size for path in outputs))
    text = plan_text.outlook(found)
    assert "train 3 (2 left)" in text
    assert "left, as far as is known: about 3 minutes of one core or GPU and " in text
    assert "kB, judged by 1 job done here" in text


def test_defenses_are_told_apart(jobs: Jobs) -> None:
    pretend_all(jobs, ("prepare", "poison", "train", "features"))
    pretend(jobs, "defend", 1, seconds=10.0)
    found = estimate.make(jobs)
    done, other = (job.arguments[1] for job in list(jobs.of("defend"))[:2])
    assert found.seconds == pytest.approx(2 * 10)
    assert found.unknown[f"defend {other}"] == 3
    assert f"defend {done}" not in found.unknown


def test_a_large_plan_is_counted_by_axis() -> None:
    text = plan_text.overview(made(poison_ratio=[i / 100 for i in range(1, 31)]).plan)
    assert "  by dataset: digits 30" in text
    assert "  by ratio: 0.01 1, 0.02 1" in text
    assert "digits/convnet/badnets/0.01" not in text
    assert len(text.splitlines()) < 20


def test_outputs_of_other_parameters_are_left_to_do(jobs: Jobs) -> None:
    pretend_all(jobs)
    assert estimate.make(jobs).left.total() == 0
    changed = estimate.make(made(recipe="paper", seed=[0, 1, 2]))
    assert changed.left["train"] == 3
    assert changed.left["report"] == 1
    assert changed.left["prepare"] == 0


def test_outputs_of_other_code_are_left_unless_they_were_blessed(jobs: Jobs) -> None:
    pretend_all(jobs)
    pretend(jobs, "train", 1, 1.0, code="0")
    assert estimate.make(jobs).left["train"] == 1
    pretend(jobs, "train", 1, 1.0, code="0", blessed=[{"under": next(jobs.of("train")).code}])
    assert estimate.make(jobs).left.total() == 0


def test_what_is_made_from_what_is_left_is_left(jobs: Jobs) -> None:
    pretend_all(jobs)
    next(jobs.of("poison")).outputs[0].unlink()
    found = estimate.make(jobs)
    assert (found.left["poison"], found.left["train"], found.left["report"]) == (1, 1, 1)


def test_another_model_is_not_judged_by_this_one(jobs: Jobs) -> None:
    pretend_all(jobs)
    found = estimate.make(made(seed=[0, 1, 2], model=["convnet", "preactresnet18"]))
    assert found.unknown["train badnets"] == 3
    assert found.seconds == 0


def test_a_time_that_was_not_noted_is_not_taken_for_none(jobs: Jobs) -> None:
    pretend_all(jobs)
    for job in list(jobs.of("evaluate"))[:2]:
        job.outputs[0].unlink()
    found = estimate.make(jobs)
    assert found.untimed == 3  # the report reads both, and is left, too
    assert "the time of 3 jobs is never noted" in plan_text.outlook(found)


@pytest.mark.parametrize("text", ["", "[]", '{"blessed": 3}', "\0"])
def test_a_damaged_record_is_no_record(jobs: Jobs, text: str) -> None:
    pretend_all(jobs)
    job = next(jobs.of("train"))
    next(path for path in job.outputs if path.name == "provenance.json").write_text(text)
    assert estimate.make(jobs).left["train"] == 1


def test_what_comes_with_bdb_serves_where_nothing_is_done(jobs: Jobs, shipped: Path) -> None:
    write(shipped, row("train", 10, 0.001, params=FAST))
    found = estimate.make(jobs)
    images = 1433 - 287  # what the clean set leaves of digits
    assert found.seconds == pytest.approx(3 * (10 + 20 * images * 0.001), rel=1e-3)
    assert (found.bytes, found.by_shipped, found.judged_by) == (3000, 3, 0)
    assert "train badnets" not in found.unknown
    text = plan_text.outlook(found)
    assert (
        "left, as far as is known: about 99 seconds of one core or GPU and 3 kB, judged by" in text
    )
    assert "judged by bdb's own figures for 3 jobs (a box)" in text


def test_what_is_done_here_comes_before_what_comes_with_bdb(jobs: Jobs, shipped: Path) -> None:
    write(shipped, row("train", 10, params=FAST), row("prepare", 7, model=""))
    pretend(jobs, "train", 1, seconds=90.0)
    found = estimate.make(jobs)
    assert found.seconds == pytest.approx(3 * 90 + 7)
    assert (found.judged_by, found.by_shipped) == (1, 1)
    assert "judged by 1 job done here and bdb's own figures for 1 job" in plan_text.outlook(found)


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "cifar10"},
        {"model": "preactresnet18"},
        {"method": "wanet"},
        {"params": {"training": {"recipe": "paper"}}},
        {"params": FAST | {"models.convnet": {"width": 4}}},
        {"params": {"training": {"recipe": "fast", "batch_size": 8}}},
    ],
)
def test_figures_of_other_jobs_stand_for_none(
    jobs: Jobs, shipped: Path, other: dict[str, Any]
) -> None:
    write(shipped, row("train", 10, params=FAST) | other)
    found = estimate.make(jobs)
    assert (found.seconds, found.by_shipped) == (0, 0)
    assert found.unknown["train badnets"] == 3


def test_a_training_takes_as_long_as_its_epochs_and_images(shipped: Path) -> None:
    write(shipped, row("train", 10, 0.001, params=FAST))

    def seconds(**changed: Any) -> float:
        raw = yaml.safe_load(presets.text("smoke")) | changed
        raw["grid"]["attack"] = ["badnets"]
        return estimate.make(Jobs(plan.make(params.parse(raw, CATALOGUE), CATALOGUE))).seconds - 10

    whole = seconds(training={"recipe": "fast"})
    assert seconds(training={"recipe": "fast", "epochs": 60}) == pytest.approx(3 * whole)
    half = seconds(training={"recipe": "fast"}, datasets={"digits": {"train_share": 0.5}})
    assert half == pytest.approx(whole / 2, rel=0.01)


def test_a_training_of_other_length_is_judged_by_its_epochs(jobs: Jobs) -> None:
    pretend_all(jobs, ("prepare", "poison"))
    pretend(jobs, "train", 1, seconds=50.0, epoch_seconds=[2.0] * 20, threads=2)
    _, past = estimate.look(jobs)
    (cost,) = past[estimate.kind_of(jobs, next(jobs.of("train")))]
    assert cost.seconds == pytest.approx(2 * (50 - 40))
    assert estimate.make(jobs).seconds == pytest.approx(2 * 2 * 50)


def test_code_that_was_edited_takes_as_long_as_before(jobs: Jobs) -> None:
    pretend_all(jobs)
    pretend(jobs, "train", 3, 30.0, code="0")
    found = estimate.make(jobs)
    assert found.left["train"] == 3
    assert found.seconds == pytest.approx(3 * 30)


def test_every_figure_that_comes_with_bdb_is_of_something_that_there_is() -> None:
    costs, machine = estimate.read(Path(estimate.__file__).with_name("costs.json"))
    assert machine
    for kind, cost in costs.items():
        CATALOGUE.get("dataset", kind.dataset)
        assert cost.seconds is None or cost.seconds > 0
        assert cost.bytes > 0
    airbench = [cost for kind, cost in costs.items() if kind.model == "airbench94"]
    assert max(cost.per_image for cost in airbench) > 0
