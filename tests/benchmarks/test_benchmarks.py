import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import baseline
import common
import costs
import defenses
import engine
import gpu
import majority
import pace
import pytest
import tables
import torch
import training
import trigger_picture
import triggers
import yaml
from baseline import Baseline, Schedule
from inputs import describe, poisoned
from session import summary, together
from session.budget import Budget

from bdb import artifacts, presets, registry
from bdb.defenses.base import Outcome
from bdb.jobs import estimate
from bdb.jobs import jobs as all_jobs
from bdb.testing import Lab, lab

SCRIPTS = (
    "costs",
    "training",
    "triggers",
    "trigger_picture",
    "defenses",
    "majority",
    "engine",
    "gpu",
    "tables",
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def subject() -> training.Subject:
    return training.Subject(poisoned(None, 320, 20), "convnet", {"width": 1}, CPU)


@pytest.fixture(scope="module")
def rows(subject: training.Subject) -> list[dict[str, Any]]:
    measured = [
        training.measure_baseline(subject, 0, 0.1),
        training.measure(subject, "paper", 0.1),
    ]
    return training.compare(measured)


@pytest.fixture
def report(tmp_path: Path) -> common.Report:
    args = Namespace(out=tmp_path / "training-cpu.json", revision="abc", data=tmp_path)
    return common.Report("training", args, CPU)


def test_the_baseline_augments_as_published() -> None:
    found = [repr(step) for step in baseline.train_transforms(describe(("a", "b"))).transforms]
    assert found == [
        "RandomCrop(size=(32, 32), padding=4)",
        "RandomHorizontalFlip(p=0.5)",
        "ToTensor()",
        "Normalize(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.243, 0.261))",
    ]


def test_a_model_may_be_given_with_fields(subject: training.Subject) -> None:
    inputs = subject.inputs
    made = [
        training.make_subject(text, inputs, CPU)
        for text in ("airbench94", "airbench94:width_factor=0.5", "convnet:width=2")
    ]
    assert [each.architecture for each in made] == ["airbench94", "airbench94", "convnet"]
    assert [each.fields for each in made] == [{}, {"width_factor": 0.5}, {"width": 2}]


def test_a_share_is_of_what_the_machine_can_do(subject: training.Subject) -> None:
    stem = 2 * 3 * 9 * 16 * 16  # its products alone, forward, of one channel
    assert subject.flops() > stem
    assert training.matrix_rate(CPU, side=64) > 0
    args = training.options().parse_args(["--model", "convnet:width=1", "--seconds", "0.05"])
    args.recipe = ["paper"]
    rate = 1e12
    for row in training.measure_all(args, subject.inputs, CPU, rate):
        share = 100 * row["flops_per_image"] * common.value(row["throughput"]) / rate
        assert common.value(row["of_matrices"]) == pytest.approx(share, rel=1e-3)


def test_the_baseline_follows_the_published_schedule(subject: training.Subject) -> None:
    made = Baseline(subject.inputs, "convnet", {}, CPU, workers=0)
    assert made.schedule == Schedule(100, 128, 0.01, 0.9, 5e-4)
    assert made.scheduler.T_max == 100
    assert made.train_loader.drop_last
    assert list(made.train()) == [128, 128]
    assert sum(made.evaluate()) == subject.evaluated == 38
    assert {parameter.dtype for parameter in made.model.parameters()} == {torch.float32}


def test_the_baseline_learns() -> None:
    quick = Schedule(epochs=6, batch_size=20, lr=0.05)
    flat = torch.arange(10, dtype=torch.uint8).repeat(20)
    inputs = poisoned(None, 200, 20)
    inputs.train.images.copy_(25 * flat[:, None, None, None].expand(-1, 3, 32, 32))
    inputs.train.labels.copy_(flat)
    made = Baseline(inputs, "convnet", {"width": 4}, CPU, 0, quick)
    for _ in range(quick.epochs):
        assert sum(made.train()) == 200
    assert sum(made.losses[-10:]) < 0.8 * sum(made.losses[:10])


def test_a_pace_leaves_the_warm_up_out() -> None:
    found = pace.pace(iter([1000] * 2 + [10] * 20), 0.0, warm_up=2)
    assert found.warmed == 2000
    assert len(found.rates) == common.REPEATS


def test_figures_have_units_and_repeats(rows: list[dict[str, Any]]) -> None:
    slow, ours = rows
    assert slow["throughput"]["unit"] == "images/s"
    assert len(slow["throughput"]["repeats"]) == common.REPEATS
    assert slow["evaluations"] == slow["epochs"] == ours["epochs"] == 100
    assert slow["to_end"]["kind"] == "projected"
    parts = sum(common.value(slow[name]) for name in ("start_up", "all_evaluations"))
    whole = parts + 100 * common.value(slow["epoch"])
    assert common.value(slow["to_end"]) == pytest.approx(whole, rel=1e-3)
    assert slow["ratios"] == {}
    wanted = common.value(ours["throughput"]) / common.value(slow["throughput"])
    assert common.value(ours["ratios"]["throughput"]) == pytest.approx(wanted, rel=1e-3)


def test_the_file_says_where_it_was_measured(
    report: common.Report, rows: list[dict[str, Any]]
) -> None:
    report.add(loops=rows)
    record = json.loads(report.path.read_text())
    assert {"device", "cpu", "cores", "threads", "torch", "bdb", "git", "date"} <= set(
        record["machine"]
    )
    assert record["machine"]["git"] == "abc"
    assert "data" not in record["settings"]
    assert len(record["results"]["loops"]) == 2


def test_tables_are_made_from_the_files(
    report: common.Report, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    report.add(loops=rows)
    pages = [tmp_path / "README.md", tmp_path / "benchmarks.md"]
    for page in pages:
        page.write_text("<!-- benchmarks -->\n<!-- /benchmarks -->\n")
    arguments = ("--results", tmp_path, "--readme", pages[0], "--docs", pages[1])
    tables.main([str(argument) for argument in arguments])
    rate = common.show(common.value(rows[0]["throughput"]))
    for page in pages:
        assert f"| convnet, width 1 | baseline | {rate} | " in page.read_text()


def test_the_pages_show_the_files_that_git_keeps() -> None:
    records = tables.read(common.RESULTS)
    for name, names in (("README.md", tables.SHORT), ("docs/benchmarks.md", tables.TABLES)):
        page = (common.ROOT / name).read_text()
        assert tables.text(records, names) in page, "run `python benchmarks/tables.py`"


def test_rehearsals_are_no_figures(report: common.Report) -> None:
    report.record["settings"]["rehearse"] = True
    report.add()
    assert tables.read(report.path.parent) == []


def test_what_does_not_fit_is_not_started() -> None:
    now, notes = [0.0], {}
    budget = Budget(10, lambda **facts: notes.update(facts), clock=lambda: now[0])

    def work() -> str:
        now[0] += 6
        return "done"

    assert budget.step("first", 6, work) == "done"
    assert budget.step("second", 6, work) is None
    assert budget.step("third", 3, lambda: 1 / 0) is None
    assert notes["steps_s"] == {"first": 6, "third": 0}
    assert notes["skipped"] == {"second": "needs about 6 s of the 4 s that are left"}
    assert notes["failed"] == {"third": "ZeroDivisionError: division by zero"}


def test_every_attack_is_stamped_or_says_why_not() -> None:
    found = dict(triggers.measure_all(CPU, [2], 0.001))
    assert list(found) == registry.names("attack")
    assert found["none"] == {"reason": "poisons nothing"}
    unstamped = {name for name, row in found.items() if "stamps" not in row}
    assert unstamped == {"imported", "none"}
    assert common.value(found["badnets"]["stamps"]["2"]) > 0


def test_poison_grows_to_most_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    only = {"spectral": majority.VARIANTS["spectral"]}
    monkeypatch.setattr(majority, "VARIANTS", only)
    victim = lab("badnets")
    monkeypatch.setattr(
        type(victim), "defend", lambda *_, **__: Outcome(model=victim.model, **perfect(victim))
    )
    (row,) = majority.measure_all([0.1], 0)
    assert common.value(row["majority"]) > 50
    assert [common.value(row[name]) for name in ("AUROC", "TPR", "FPR")] == [1, 100, 0]
    record = {"results": {"rows": [row]}}
    assert "| 0.1 | 52 % | spectral | 1.000 | 100.00 | 0.00 |" in majority.table(record)


def perfect(victim: Lab) -> dict[str, Any]:
    poison = victim.is_poison()
    return {"scores": {"train": poison.float()}, "flagged": {"train": poison}}


def test_the_workflows_overhead_is_what_its_jobs_do_not_take(tmp_path: Path) -> None:
    for name, seconds in (("train/a", 3.0), ("report", 1.0)):
        path = tmp_path / f"{name}.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"s\th:m:s\n{seconds}\t0:00:03\n")
    jobs = engine.seconds_of_jobs(tmp_path)
    assert sorted(jobs) == [1.0, 3.0]
    found = engine.overhead(3.0, jobs, cores=2)
    assert common.value(found["overhead"]) == 1.0
    assert common.value(found["overhead_share"]) == 50.0


def test_the_gpus_grid_is_what_it_names(tmp_path: Path) -> None:
    made = gpu.Project(tmp_path, gpu.params("fast", gpu.REAL, rehearse=False))
    jobs = made.jobs
    every = list(jobs)
    for attack in gpu.ATTACKS:
        found = list(gpu.jobs_of(jobs, every, gpu.run_of(jobs, attack)))
        cells = [job.arguments[1] for job in found if job.stage == "defend"]
        assert cells == list(gpu.DEFENSES)
        assert found[0].arguments[0].split("/")[2] == ("none" if attack == "lf" else attack)
    assert gpu.run_of(jobs, "sig").ratio == "0.05"


def test_targets_say_what_was_measured() -> None:
    def victim(recipe: str, c_acc: float, asr: float, seconds: float) -> dict[str, Any]:
        costs = {name: common.figure(seconds, "s") for name in ("training", "job")}
        rates = common.percents({"c_acc": c_acc, "asr": asr})
        return {"recipe": recipe, **costs, **rates, "throughput": common.figure(100, "images/s")}

    nothing = summary.targets({"results": {}})
    assert {target["met"] for target in nothing} == {None}
    slow = {"throughput": common.figure(5, "images/s"), "to_end": common.figure(300, "s")}
    found = summary.targets(
        {
            "results": {
                "loops": [{"loop": "baseline", **slow}],
                "victims": [victim("paper", 0.94, 0.99, 50), victim("fast", 0.935, 0.96, 20)],
            }
        }
    )
    quick = [None] * 3  # airbench's were not trained
    wanted = [True, False, *quick, True, False, True, True]
    assert [target["met"] for target in found] == wanted


def test_a_control_and_a_victim_of_the_quick_network_have_targets_of_their_own() -> None:
    victims = [
        {"recipe": "airbench", "run": f"cifar10/airbench94/{attack}/s0", **common.percents(rates)}
        for attack, rates in (("none", {"c_acc": 0.936}), ("badnets", {"c_acc": 0.92, "asr": 0.95}))
    ]
    found = summary.targets({"results": {"victims": victims}})
    met = {each["target"].partition(" >=")[0]: each["met"] for each in found}
    assert met["airbench: control's C-Acc"] is True
    assert met["airbench: C-Acc"] is False
    assert met["airbench: ASR"] is True


def test_every_defense_of_the_registry_is_planned(tmp_path: Path) -> None:
    args = defenses.options().parse_args([])
    params = defenses.params(args)
    made = defenses.Project(tmp_path, params)
    assert [name for _, name in made.jobs.plan.cells] == registry.names("defense")
    # Published schedules would take hours.
    assert params["defenses"] == yaml.safe_load(presets.text("digits"))["defenses"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_can_be_had_of_each(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = sys.modules[script]
    with pytest.raises(SystemExit):
        module.options().parse_args(["--help"])
    assert "options:" in capsys.readouterr().out


def test_a_script_runs_outside_of_the_project(tmp_path: Path) -> None:
    command = [sys.executable, str(common.ROOT / "benchmarks" / "triggers.py"), "--help"]
    environment = {"PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_several_train_at_once(subject: training.Subject, rows: list[dict[str, Any]]) -> None:
    (found,) = together.together(subject, rows[1], [2], 0.1)
    assert found["jobs"] == len(found["throughput_of_each"]) == 2
    assert common.value(found["throughput"]) > 0


@pytest.mark.evidence
@pytest.mark.slow
def test_jobs_run_in_a_folder_of_their_own(tmp_path: Path) -> None:
    args = defenses.options().parse_args(["--defense", "ac", "--epochs", "1"])
    made = defenses.Project(tmp_path, defenses.params(args))
    measured = list(defenses.measure_all(made))
    stages = [job.stage for job in all_jobs.from_params(tmp_path / "params.yaml")]
    assert [row["stage"] for row in measured] == [name for name in stages if name != "report"]
    assert not [row["reason"] for row in measured if "reason" in row]
    cell = next(row for row in measured if row["defense"] == "ac")
    assert common.value(cell["memory"]) > 100
    assert common.value(cell["process"]) > common.value(cell["seconds"]) > 0
    assert set(defenses.rates(made)) == {"none", "ac"}


def test_pictures_differ_in_nothing_but_their_picture() -> None:
    args = trigger_picture.options().parse_args([])
    made = [trigger_picture.params(args, *each) for each in trigger_picture.VARIANTS.values()]
    patterns = [each["attacks"]["blended"].pop("pattern") for each in made[:2]]
    assert patterns == ["picture", "noise"]
    assert made[0] == made[1]


def test_the_table_of_pictures_gives_means_and_ranges() -> None:
    rates = {"none": {"c_acc": [50.0, 60.0], "asr": [90.0, 100.0]}}
    record = {"results": {"variants": {"blended, noise": rates}}}
    assert "| blended, noise | 55.0 / 95.0 (90.0 to 100.0) |" in trigger_picture.table(record)


def test_costs_are_kept_by_kind_from_projects(tmp_path: Path) -> None:
    made = defenses.Project(tmp_path, defenses.params(defenses.options().parse_args([])))
    (job,) = made.jobs.of("train")
    record = {"params": job.params, "code": job.code, "seconds": 50.0, "epoch_seconds": [2.0] * 20}
    for path in job.outputs:
        artifacts.write_text(tmp_path / path, "x" * 100)
    artifacts.write_json(tmp_path / job.outputs[0].with_name("provenance.json"), record)
    found = costs.table(costs.measured([tmp_path, tmp_path]))
    (row,) = (row for row in found if row["stage"] == "train")
    assert (row["dataset"], row["model"], row["method"]) == ("digits", "convnet", "")
    assert row["params"] == {"training": {"recipe": "fast"}}
    assert row["seconds"] == 10
    assert row["per_image"] == pytest.approx(2 / 1146, rel=1e-3)
    assert row["bytes"] > 300
    out = tmp_path / "costs.json"
    costs.main([str(tmp_path), "--device", "cpu", "--note", "idle", "--out", str(out)])
    table, machine = estimate.read(out)
    assert estimate.kind_of(made.jobs, job) in table
    assert ", idle, " in machine
