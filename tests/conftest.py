import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bdb import presets
from bdb.testing import Lab, lab

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors are faster on one thread, and their bytes do not depend on the machine."""
    torch.set_num_threads(1)


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

    def save(self) -> None:
        text = yaml.safe_dump(self.params, sort_keys=False)
        (self.folder / "params.yaml").write_text(text)

    def bdb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(sys.executable, "-m", "bdb", *arguments)

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(sys.executable, "-m", "snakemake", "--cores", "2", *arguments)

    def python(self, program: str) -> subprocess.CompletedProcess[str]:
        return self._run(sys.executable, "-c", program)

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

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
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
