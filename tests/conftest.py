import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bdb import presets
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.testing import Lab, lab
from bdb.training.batches import Batch

ROOT = Path(__file__).parents[1]

# Two workers on a machine with one GPU would wait for each other.
os.environ.setdefault("BDB_DEVICE", "cpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the workflow's files, which take longest: no worker waits for them at the end."""
    items.sort(key=lambda item: "tests/workflow/" not in item.nodeid)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors are faster on one thread, and their bytes do not depend on its cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def shared_labs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The workers of a run train no victim twice."""
    own = tmp_path_factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    os.environ["BDB_LABS"] = str(run / "labs")


@pytest.fixture(autouse=True)
def drawn_alike() -> None:
    """What a test draws without a generator of its own does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """Stages flush them, for as long as their process lives; tests share one."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def badnets() -> Lab:
    return lab("badnets")


class Project:
    """A folder with the workflow and parameters of its own, as a user has after cloning."""

    def __init__(self, folder: Path, preset: str = "smoke") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "Snakefile", folder)
        shutil.copytree(ROOT / "workflow", folder / "workflow")
        (folder / "profiles").symlink_to("workflow/profiles")
        self.params: dict[str, Any] = yaml.safe_load(presets.text(preset))
        self.environment = dict(os.environ)
        self.save()

    def init_dvc(self) -> "Project":
        """Git, DVC and the package's own code, as in a clone of the project."""
        for name in (".dvcignore", ".gitignore", "dvc.yaml"):
            shutil.copy(ROOT / name, self.folder)
        (self.folder / ".dvc").mkdir()
        for name in (".gitignore", "config"):
            shutil.copy(ROOT / ".dvc" / name, self.folder / ".dvc")
        shutil.copytree(ROOT / ".dvc/plots", self.folder / ".dvc/plots")
        for name in ("bdb", "snakemake_logger_plugin_bdb"):
            left_out = shutil.ignore_patterns("__pyc*")
            shutil.copytree(ROOT / name, self.folder / name, ignore=left_out)
        self.environment["PYTHONPATH"] = str(self.folder)
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{self.environment['PATH']}"
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("Start")
        return self

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def git(self, *arguments: str) -> None:
        user = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
        done = self.run("git", *user, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def dvc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def make(self, *arguments: str) -> str:
        """Run the workflow to its end; what it printed."""
        ran = self.snakemake(*arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def is_clean(self) -> bool:
        """Whether DVC sees no difference to what it recorded."""
        status = self.dvc("status")
        assert status.returncode == 0, status.stderr
        return "up to date" in status.stdout

    def check_nothing_is_left(self) -> None:
        """Both engines, and what DVC recorded, agree that all is made."""
        assert self.is_clean()
        done = self.dvc("repro")
        assert done.returncode == 0, done.stderr
        assert "up to date" in done.stdout
        assert not self.planned()

    def computed(self) -> list[str]:
        """The jobs of the last run that were computed, by log; the others were linked."""
        logs = [path for path in (self.folder / "logs").rglob("*.log") if path.stem != "record"]
        return sorted(
            str(path.relative_to(self.folder / "logs"))
            for path in logs
            if "linked from the cache" not in path.read_text()
        )

    def forget_logs(self) -> None:
        """So that `computed` speaks of the next run alone."""
        for log in (self.folder / "logs").rglob("*.log"):
            log.unlink()

    def search(self, site: Path) -> None:
        """Let Python find the packages in this folder first."""
        path = [str(site), self.environment.get("PYTHONPATH", "")]
        self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))

    def save(self) -> None:
        text = yaml.safe_dump(self.params, sort_keys=False)
        (self.folder / "params.yaml").write_text(text)

    def bdb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "bdb", *arguments)

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "snakemake", "--cores", "2", *arguments)

    def python(self, program: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-c", program)

    def planned(self) -> dict[str, int]:
        """How many jobs of each rule Snakemake would run now."""
        done = self.snakemake("-n", "--quiet", "reason")
        assert done.returncode == 0, done.stderr
        lines = (done.stdout + done.stderr).splitlines()
        pairs = [line.split() for line in lines]
        return {
            pair[0]: int(pair[1])
            for pair in pairs
            if len(pair) == 2 and pair[1].isdigit() and pair[0] not in ("total", "all", "jobid:")
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Project]:
    """Makes projects that live as long as the tests."""

    def make(preset: str = "smoke") -> Project:
        return Project(tmp_path_factory.mktemp("project") / "it", preset)

    return make


@pytest.fixture(scope="session")
def as_batch() -> Callable[..., Batch]:
    """Makes of images what a step sees, not augmented."""

    def make(data: ImageSet, **fields: Any) -> Batch:
        return Batch(
            pixels=data.images,
            labels=data.labels,
            ids=data.ids,
            augmentation=Augmentation(),
            generator=torch.Generator().manual_seed(0),
            **{"epoch": 0} | fields,
        )

    return make
