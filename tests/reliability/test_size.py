"""The whole published grid: planning it is quick and small, and DVC can keep it."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import Process, Queue
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from subprocess import CompletedProcess
from typing import Any

import pytest

from bdb import registry
from bdb.console import say

pytestmark = pytest.mark.reliability

# What the leaderboard holds, by the names that methods have here, and the class variables that
# count for a plan.
ATTACKS = {
    "badnets": "",
    "blended": "",
    "blind": "controls_training = True",
    "bpp": "controls_training = True",
    "inputaware": "controls_training = True",
    "lc": 'label_mode = "clean"',
    "lf": 'needs = frozenset({"clean_model"})',
    "lira": "controls_training = True",
    "sig": 'label_mode = "clean"',
    "ssba": "",
    "trojannn": 'needs = frozenset({"clean_model"})',
    "wanet": "controls_training = True",
}
NEEDS = 'needs = frozenset({"model", "clean_set"})'
TRAIN_SET = 'needs = frozenset({"train_set"})'
DEFENSES = {
    **dict.fromkeys(("ft", "fp", "nad", "nc", "anp", "i_bau", "bnp"), NEEDS),
    "clp": 'needs = frozenset({"model"})',
    **dict.fromkeys(("abl", "ac", "spectral", "dbd", "d_br", "d_st", "ep"), TRAIN_SET),
}
CLASSES = {
    "attack": ("bdb.attacks.base", "DataPoisoning", ATTACKS),
    "defense": ("bdb.defenses.base", "PostTraining", DEFENSES),
}
PUBLISHED_PAIRS = 11_492
# Where a defense has nothing to act on no cell is planned here: a fifth model makes up for these.
ONE_MORE = "densenet161"
DVC = (sys.executable, "-m", "dvc")


def install(folder: Path) -> None:
    """A package with a stand-in for every published method that does not exist here."""
    points = []
    for kind, (module, base, methods) in CLASSES.items():
        known = registry.names(kind)
        source = f"from {module} import {base}\nfrom bdb.registry import register\n\n"
        for name, facts in methods.items():
            if name not in known:
                source += f'@register("{name}")\nclass {name.title()}({base}):\n'
                source += f'    """Stands in for {name}."""\n    {facts or "pass"}\n\n'
        write(folder / "published" / f"{kind}.py", source)
        points.append(f"[{registry.PACKAGES[kind]}]\nall = published.{kind}\n")
    write(folder / "published/__init__.py", "")
    metadata = folder / "published-0.1.dist-info"
    write(metadata / "METADATA", "Metadata-Version: 2.1\nName: published\nVersion: 0.1\n")
    write(metadata / "entry_points.txt", "\n".join(points))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def published(project: Any, site: Path) -> None:
    """Give a project a grid of as many pairs as were published."""
    install(site)
    project.search(site)
    project.params["grid"]["model"].append(ONE_MORE)
    for kind, methods in (("attack", ATTACKS), ("defense", DEFENSES)):
        axis = project.params["grid"][kind]
        axis += sorted(set(methods) - set(axis))
    project.save()


def measured(project: Any, *command: str) -> tuple[CompletedProcess[str], float, float]:
    """Run a command; seconds, and the peak memory in MB of it or what it started."""
    answers: Queue[Any] = Queue()
    process = Process(target=_measure, args=(answers, project, command))
    process.start()
    answer = answers.get()
    process.join()
    return answer


def _measure(answers: Any, project: Any, command: tuple[str, ...]) -> None:
    """In a process of its own, since the peak is one of all children so far."""
    began = time.monotonic()
    done = project.run(*command)
    answers.put((done, time.monotonic() - began, getrusage(RUSAGE_CHILDREN).ru_maxrss / 1024))


def jobs_of(project: Any) -> list[Any]:
    """Every planned job: stage and outputs."""
    program = (
        "import json; from bdb.jobs import jobs; "
        "print(json.dumps([(j.stage, [str(p) for p in j.outputs]) for j in jobs.from_params()]))"
    )
    done = project.python(program)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, new_project: Callable[..., Any]) -> Any:
    """A project with the published grid."""
    project = new_project("paper").init_dvc()
    published(project, tmp_path_factory.mktemp("published") / "site")
    return project


def test_the_published_grid_is_planned_within_a_gigabyte(whole: Any) -> None:
    counts = Counter(stage for stage, _ in jobs_of(whole))
    assert counts["defend"] + counts["evaluate"] >= PUBLISHED_PAIRS
    command = (sys.executable, "-m", "snakemake", "--cores", "2", "-n", "--quiet")
    done, seconds, megabytes = measured(whole, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    say(f"{counts.total()} jobs planned in {seconds:.1f} s and {megabytes:.0f} MB")
    assert megabytes < 1000


def test_dvc_keeps_the_published_grid(whole: Any) -> None:
    """Stand-ins for outputs lie where the plan says, as many pairs as published."""
    jobs = jobs_of(whole)
    runs = sum(stage == "evaluate" for stage, _ in jobs)
    cells = [outputs for stage, outputs in jobs if stage == "defend"][: PUBLISHED_PAIRS - runs]
    others = [outputs for stage, outputs in jobs if stage != "defend"]
    paths = [path for outputs in (*others, *cells) for path in outputs]
    for path in paths:
        write(whole.folder / path, "{}" if path.endswith(".json") else path)
    for name in ("analyses", "surrogates", "shared/analyses", "shared/report"):
        (whole.folder / "results" / name).mkdir(parents=True, exist_ok=True)
    done, seconds, megabytes = measured(whole, *DVC, "commit", "--force", "--quiet")
    assert done.returncode == 0, done.stderr
    say(f"{len(paths)} files: dvc commit {seconds:.1f} s and {megabytes:.0f} MB")
    done, seconds, megabytes = measured(whole, *DVC, "status")
    assert "up to date" in done.stdout, done.stdout + done.stderr
    say(f"dvc status {seconds:.1f} s and {megabytes:.0f} MB")
