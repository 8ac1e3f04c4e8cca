import importlib
import sys
from types import ModuleType

import pytest
import torch

from bdb import torchvision_ops


def test_torchvision_is_imported_once_for_everyone() -> None:
    module = torchvision_ops.load()
    assert module is torchvision_ops.load()
    assert module is importlib.import_module("torchvision")
    assert torch.ops.torchvision.nms is not None
    assert module.datasets.CIFAR10.base_folder == "cifar-10-batches-py"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A torchvision that cannot be imported before its operators are declared."""
    events: list[str] = []
    half = {"torchvision": ModuleType("torchvision"), "torchvision.extension": ModuleType("half")}

    def importing(name: str) -> ModuleType:
        if "declared" not in events:
            sys.modules.update(half)
            raise RuntimeError("operator torchvision::nms does not exist")
        events.append(f"imported {name}, of an earlier try {set(half) & set(sys.modules)}")
        return half["torchvision"]

    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(torchvision_ops.importlib, "import_module", importing)
    monkeypatch.setattr(torchvision_ops, "_declare", lambda: events.append("declared"))
    return events


def test_missing_operators_are_declared_and_the_import_begins_anew(broken: list[str]) -> None:
    torchvision_ops.load.__wrapped__()
    assert broken == ["declared", "imported torchvision, of an earlier try set()"]


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def importing(_name: str) -> ModuleType:
        raise RuntimeError("no space left")

    monkeypatch.setattr(torchvision_ops.importlib, "import_module", importing)
    with pytest.raises(RuntimeError, match="no space left"):
        torchvision_ops.load.__wrapped__()
