"""Every method on a pretended accelerator: whatever it forgets to move there is refused.

`tests/device/pretended.py` says what is pretended; kernels, precision and graphs of a real GPU are
not, and have tests of their own in `test_gpu.py`.
"""

import importlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pretended
import pytest
import torch
import yaml

from bdb import artifacts, layout, presets, registry
from bdb.jobs import jobs as all_jobs
from bdb.jobs.job import Job
from bdb.layout import Run
from bdb.testing import narrow
from bdb.training import device as devices
from bdb.training import seeds

RUN = Run("digits", "convnet", "badnets", "0.1", 0)
MADE = [name for name in registry.names("attack") if name not in ("none", "imported")]
KINDS = {"attack": "attacks", "defense": "defenses", "analysis": "analyses"}


def parameters() -> dict[str, Any]:
    """Every method on a fifth of digits, as short as it can be."""
    raw: dict[str, Any] = yaml.safe_load(presets.text("digits"))
    raw["grid"] = raw["grid"][0] | {"seed": [0], **{kind: ["*"] for kind in KINDS}}
    raw["grid"]["poison_ratio"] = [RUN.poison_ratio]
    raw["datasets"] = {"digits": {"train_share": 0.2, "crop_padding": 2, "flip": True}}
    raw["models"] = {"convnet": {"width": 8}}
    for kind, section in KINDS.items():
        raw[section] = {name: narrow(registry.get(kind, name)) for name in registry.names(kind)}
    raw["attacks"]["inputaware"]["width"] = 2
    raw["attacks"]["narcissus"]["foreign"] = "letters"  # embedded
    raw["training"] = {"recipe": "fast", "epochs": 1}
    return raw


class Project:
    """Its jobs are planned once: the plan of every method is larger than any of its jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "params.yaml").write_text(yaml.safe_dump(parameters(), sort_keys=False))
        self.jobs = all_jobs.from_params(folder / "params.yaml")
        self.makers = {path: job for job in self.jobs for path in job.outputs}

    def do(self, stage: str, *arguments: Any) -> None:
        importlib.import_module(f"bdb.stages.{stage}").run(self.jobs, *arguments)

    def make(self, job: Job) -> None:
        """Do a job, and first whatever makes what it reads."""
        for path in job.inputs:
            if not path.is_file():
                self.make(self.makers[path])
        first, *others = job.arguments
        self.do(job.stage, first if job.stage == "prepare" else Run.parse(first), *others)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("device"))


@pytest.fixture
def project(planned: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """All that a stage does happens on the pretended device."""
    read, generator, tensor = artifacts.read_tensors, seeds.generator, torch.tensor

    def read_there(path: Path, device: Any = "cpu") -> Any:
        tensors, metadata = read(path)
        return {name: tensor.to(device) for name, tensor in tensors.items()}, metadata

    def draw_there(seed: int, *names: object, device: Any = "cpu") -> torch.Generator:
        if torch.device(device).type == "cpu":
            return generator(seed, *names)
        return pretended.Generator().manual_seed(seeds.derive(seed, *names))

    def tensor_there(*values: Any, device: Any = "cpu", **options: Any) -> torch.Tensor:
        return tensor(*values, **options).to(device)  # torch does not ask a mode for this one

    monkeypatch.chdir(planned.folder)
    monkeypatch.setattr(torch, "tensor", tensor_there)
    monkeypatch.setattr(devices, "pick", lambda: pretended.DEVICE)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(artifacts, "read_tensors", read_there)
    monkeypatch.setattr(seeds, "generator", draw_there)
    with pretended.Accelerator():
        yield planned


def predictions(path: Path) -> pd.DataFrame:
    return artifacts.read_table(path / "predictions.parquet")


def test_prepare_and_the_clean_model(project: Project) -> None:
    project.do("prepare", "digits")
    project.do("train", RUN.control)
    assert len(predictions(layout.victim(RUN.control)))


@pytest.mark.parametrize("name", MADE)
def test_attack(project: Project, name: str) -> None:
    runs = (run for run in project.jobs.plan.runs if run.attack == name)
    run = next(runs)  # Poison in the loss has no ratio.
    project.make(project.jobs.train(run))
    assert predictions(layout.victim(run))["confidence"].between(0, 1).all()


def test_features(project: Project) -> None:
    project.do("features", RUN)
    assert layout.features(RUN).is_file()


@pytest.mark.parametrize("name", registry.names("defense"))
def test_defense(project: Project, name: str) -> None:
    project.do("defend", RUN, name)
    assert predictions(layout.cell(RUN, name))["confidence"].between(0, 1).all()


@pytest.mark.parametrize("name", registry.names("analysis"))
def test_analysis(project: Project, name: str) -> None:
    # What looks at cells takes one of a defense that was run above.
    of = ["ft"] if registry.get("analysis", name).scope == "cell" else []
    project.do("analyze", RUN, name, *of)
    assert layout.analysis(RUN, name, "svg", *of).is_file()


def test_the_pretended_device_refuses_what_a_gpu_refuses() -> None:
    with pretended.Accelerator():
        there = torch.ones(3, device=pretended.DEVICE)
        with pytest.raises(RuntimeError, match="all tensors on lazy:0"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError):
            there.numpy()
        assert there.cpu().tolist() == (there * torch.tensor(1.0)).cpu().tolist() == [1, 1, 1]


def test_the_results_are_those_of_the_cpu(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = predictions(layout.victim(RUN))
    monkeypatch.setattr(devices, "pick", lambda: torch.device("cpu"))
    project.do("train", RUN)
    pd.testing.assert_frame_equal(predictions(layout.victim(RUN)), there)
