"""The smoke grid on a real SLURM cluster, on this machine. `make slurm` tells what happens."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import slurm_cluster

from bdb.console import say

pytestmark = pytest.mark.slurm

CELL = "results/cells/digits/convnet/badnets/0.1/s0/strip/predictions.parquet"

# The cluster's own profile, but for a cluster that answers at once.
IMPATIENT = {
    "--workflow-profile": "workflow/profiles/slurm",
    "--latency-wait": "5",
    "--seconds-between-status-checks": "1",
    "--slurm-init-seconds-before-status-checks": "1",
}

# What a job's environment says of its GPU, and from when to when it had it.
PROBES = """

rule probe:
    output: "probe/gpu{n}.txt"
    resources: gpu=1, mem_mb=100, runtime=5
    shell: "echo $CUDA_VISIBLE_DEVICES $(date +%s.%N) $(sleep 4) $(date +%s.%N) > {output}"


rule probe_without_gpu:
    output: "probe/none.txt"
    resources: mem_mb=100, runtime=5
    shell: "echo gpu:${{CUDA_VISIBLE_DEVICES:-}} > {output}"
"""
ON_GPUS = ("poison", "train", "features", "defend", "detect", "analyze")
PROBED = ("probe/gpu0.txt", "probe/gpu1.txt", "probe/gpu2.txt", "probe/none.txt")


@dataclass(frozen=True)
class ClusterJob:
    """A job as squeue shows it."""

    number: int
    state: str
    memory: str
    gpus: str
    rule: str


def cluster_jobs() -> list[ClusterJob]:
    """All that were ever submitted, in that order."""
    columns = "JobID:12,State:20,MinMemory:12,tres-per-job:30,Comment:200"
    jobs = []
    for line in slurm_cluster.ask("squeue", "--states=all", "--noheader", "--Format", columns):
        number, state, memory, gpus, comment = line.split()
        rule = comment.removeprefix("rule_").split("_wildcards_")[0]
        jobs.append(ClusterJob(int(number), state, memory, gpus, rule))
    return sorted(jobs, key=lambda job: job.number)


def tell(title: str, jobs: list[ClusterJob]) -> None:
    """For a person who reads along with `pytest -s`."""
    say(f"\n{title}")
    for job in jobs:
        say(f"  {job.number:>3}  {job.rule:<18} {job.state:<10} {job.memory:>7}  {job.gpus}")


def snakemake(project: Any, *arguments: str) -> Any:
    options = [word for pair in IMPATIENT.items() for word in pair]
    return project.run(sys.executable, "-m", "snakemake", *options, *arguments)


@pytest.fixture(scope="module")
def done(new_project: Callable[..., Any]) -> Iterator[Any]:
    if reason := slurm_cluster.why_not():
        pytest.skip(reason)
    project = new_project()
    project.params["training"]["epochs"] = 4
    project.save()
    with (project.folder / "Snakefile").open("a") as file:
        file.write(PROBES)
    project.init_dvc()
    with slurm_cluster.cluster(gpus=2):
        ran = snakemake(project, "--", "all", *PROBED)
        tell("the smoke grid and four probes:", cluster_jobs())
        assert ran.returncode == 0, ran.stdout + ran.stderr
        yield project


def test_every_job_ran_on_the_cluster(done: Any) -> None:
    jobs = cluster_jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    rules = sorted(job.rule for job in jobs if not job.rule.startswith("probe"))
    assert rules == sorted([*ON_GPUS, "evaluate", "prepare", "report"])
    assert (done.folder / "results/board.csv").read_text().count("\n") == 4


@pytest.mark.usefixtures("done")
def test_only_jobs_that_compute_on_gpus_ask_for_one() -> None:
    asked = {job.rule for job in cluster_jobs() if job.gpus == "gres:gpu:1"}
    assert asked == {*ON_GPUS, "probe"}
    assert {job.gpus for job in cluster_jobs()} == {"gres:gpu:1", "N/A"}


def test_jobs_at_the_same_time_have_gpus_of_their_own(done: Any) -> None:
    spans = []
    for name in PROBED[:-1]:
        gpu, begin, end = (done.folder / name).read_text().split()
        spans.append((float(begin), float(end), gpu))
    start = min(spans)[0]
    say("\nCUDA_VISIBLE_DEVICES of the probes:")
    for begin, end, gpu in sorted(spans):
        say(f"  {begin - start:4.1f} s to {end - start:4.1f} s: {gpu}")
    together = [
        {one[2], other[2]}
        for index, one in enumerate(spans)
        for other in spans[:index]
        if one[0] < other[1] and other[0] < one[1]
    ]
    assert together
    assert all(gpus == {"0", "1"} for gpus in together)
    assert (done.folder / "probe/none.txt").read_text() == "gpu:\n"


def test_a_second_run_has_nothing_to_do(done: Any) -> None:
    before = cluster_jobs()
    ran = snakemake(done, "--", "all")
    assert ran.returncode == 0, ran.stderr
    assert "Nothing to be done" in ran.stdout + ran.stderr
    assert cluster_jobs() == before


def test_dvc_has_nothing_to_do(done: Any) -> None:
    assert done.is_clean()
    assert "didn't change, skipping" in done.dvc("repro").stdout


def test_a_failing_job_is_tried_again_with_more_memory_and_its_log_shown(done: Any) -> None:
    before = cluster_jobs()
    done.params["defenses"] = {"strip": {"false_positive_rate": 0.2}}
    done.save()
    done.environment["BDB_DEVICE"] = "cuda"
    try:
        ran = snakemake(done, "--", CELL)
    finally:
        del done.environment["BDB_DEVICE"]
        done.params["defenses"] = {}
        done.save()
    tried = cluster_jobs()[len(before) :]
    tell("a job that cannot work:", tried)
    assert ran.returncode == 1
    assert [(job.rule, job.state, job.memory) for job in tried] == [
        ("detect", "FAILED", "6000M"),
        ("detect", "FAILED", "12000M"),
    ]
    shown = "bdb: BDB_DEVICE='cuda', but torch sees no GPU; use cpu"
    assert shown in ran.stdout + ran.stderr
    logs = list((done.folder / ".snakemake/slurm_logs/rule_detect").rglob("*.log"))
    assert len(logs) == 2
    assert not any("Trying to restart" in log.read_text() for log in logs)
    say(f"  its log, as Snakemake shows it: {shown}")
