"""Every profile is read and plans; Kubernetes' runs a grid against a server that is not real."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_kubernetes
import pytest
import yaml

PROFILES = Path(__file__).parents[2] / "workflow" / "profiles"
NAMES = sorted(path.parent.name for path in PROFILES.glob("*/config.yaml"))
PLUGINS = {
    "kubernetes": ("snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs"),
    "slurm": ("snakemake_executor_plugin_slurm",),
}


def need_plugins(name: str) -> None:
    for module in PLUGINS.get(name, ()):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install -e '.[{name}]'")


def snakemake(project: Any, name: str, *arguments: str) -> Any:
    profile = ["--workflow-profile", f"workflow/profiles/{name}"]
    return project.run(sys.executable, "-m", "snakemake", *profile, *arguments)


@pytest.fixture(scope="module")
def fresh(new_project: Callable[..., Any]) -> Any:
    return new_project()


def test_there_is_a_profile_for_every_place() -> None:
    assert NAMES == ["default", "gpu", "kubernetes", "slurm"]


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_plans_the_grid(fresh: Any, name: str) -> None:
    need_plugins(name)
    cores = ["--cores", "1"] if name == "default" else []
    ran = snakemake(fresh, name, "--dry-run", *cores)
    assert ran.returncode == 0, ran.stderr
    assert "rule train:" in ran.stdout + ran.stderr


@pytest.mark.parametrize("name", NAMES)
def test_profiles_agree_on_when_a_job_runs_again(name: str) -> None:
    settings, default = (
        yaml.safe_load((PROFILES / place / "config.yaml").read_text())
        for place in (name, "default")
    )
    del default["cores"]  # Those of this machine; elsewhere the batch system counts.
    assert {key: settings[key] for key in default} == default


def pod_environment(folder: Path) -> dict[str, str]:
    """What an image has: this Python, and a pip that finds the storage plugin installed."""
    folder.mkdir()
    (folder / "pip").write_text("#!/bin/sh\n")
    (folder / "pip").chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path}


@pytest.mark.evidence
def test_the_grid_runs_in_pods(new_project: Callable[..., Any], tmp_path: Path) -> None:
    need_plugins("kubernetes")
    if not shutil.which("rsync"):
        pytest.skip("rsync not found, with which pods copy: apt-get install rsync")
    project = new_project()
    project.params["grid"] |= {"defense": [], "analysis": []}
    project.params["training"]["epochs"] = 4
    project.save()
    raw = project.folder / "data/raw"
    raw.mkdir(parents=True)
    profile = project.folder / "workflow/profiles/kubernetes/config.yaml"
    profile.write_text(profile.read_text().replace("/bdb/project", str(project.folder)))
    metrics = "results/metrics/digits/convnet/badnets/0.1/s0.json"
    environment = pod_environment(tmp_path / "bin")
    with fake_kubernetes.kubernetes(tmp_path, environment) as server:
        project.environment["KUBECONFIG"] = str(server.kube_config)
        quickly = ["--seconds-between-status-checks", "1"]
        ran = snakemake(project, "kubernetes", *quickly, "--", metrics)
        assert ran.returncode == 0, ran.stdout + ran.stderr + server.logs()
        assert (project.folder / metrics).is_file()
        assert {link.resolve() for link in tmp_path.glob("*/data/raw")} == {raw}
        asked = [container["resources"] for container in server.containers()]
    gpus = [
        (of["requests"].get("nvidia.com/gpu"), of["limits"].get("nvidia.com/gpu")) for of in asked
    ]
    assert gpus == [(None, None), ("1", "1"), ("1", "1"), (None, None)]
