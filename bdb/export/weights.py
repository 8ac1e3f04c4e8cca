"""A model for others: its weights under their names, or a program that needs no class of ours."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bdb import __version__, artifacts, layout
from bdb.errors import ParamsError, short
from bdb.export.targets import free, known
from bdb.models import base as models
from bdb.models.base import Classifier

_ONNX = ("onnx", "onnxscript")
_SAMPLE = 2  # images: of one, a program would be for one image for ever


def export(text: str, path: Path, defense: str = "") -> str:
    """Write a victim, or the model that a defense made of it.

    `.safetensors` and `.pt` hold the weights by name, with what else one must know: in the
    safetensors metadata, or beside `state_dict` under `about`. `.pt2` (for `torch.export.load`) and
    `.onnx` hold the network too: floats in [0, 1], N x C x H x W -> logits, N x K, of any N.

    Args:
        text: the run.
        path: whose suffix says the form.
        defense: of the cell; the victim's own model if empty.

    Raises:
        ParamsError: there is no such run, form or package, or the file is there already.
        ArtifactError: the model has not been made, or was not kept.
    """
    _, run = known(text)
    write = _FORMS.get(path.suffix)
    if write is None:
        raise ParamsError(f"{path}: {short(path.suffix)} is not allowed; {', '.join(_FORMS)} are")
    free(path)
    source = layout.defended(run, defense) if defense else layout.model(run)
    model = models.load(source)
    about = {
        "run": str(run),
        "defense": defense,
        "model": model.spec.model_dump(mode="json"),
        "input": "floats in [0, 1], N x C x H x W; the network normalises them itself",
        "bdb": __version__,
    }
    with artifacts.replacing(path) as temporary:
        write(model, temporary, about)
    return f"{path}: {sum(each.numel() for each in model.parameters()):,} parameters of {source}"


def _safetensors(model: Classifier, path: Path, about: dict[str, Any]) -> None:
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, path, {"about": json.dumps(about, sort_keys=True)})


def _state_dict(model: Classifier, path: Path, about: dict[str, Any]) -> None:
    torch.save({"state_dict": dict(model.state_dict()), "about": about}, path)


def _program(model: Classifier, path: Path, about: dict[str, Any]) -> None:
    kept = {"about.json": json.dumps(about, sort_keys=True)}
    with path.open("wb") as file:
        torch.export.save(_exported(model), file, extra_files=kept)


def _onnx(model: Classifier, path: Path, about: dict[str, Any]) -> None:
    missing = [name for name in _ONNX if importlib.util.find_spec(name) is None]
    if missing:
        raise ParamsError(
            f".onnx needs {' and '.join(missing)}, which are not installed; pip install "
            "'bdb[onnx]', or write .pt2"
        )
    program = torch.onnx.export(_exported(model), dynamo=True, verbose=False)
    assert program is not None
    program.model.metadata_props["about"] = json.dumps(about, sort_keys=True)
    program.save(path)


def _exported(model: Classifier) -> torch.export.ExportedProgram:
    """The network as a program of torch's own operations, for any number of images."""
    shape = {0: torch.export.Dim("images")}
    images = torch.zeros(_SAMPLE, *model.spec.data.shape)
    return torch.export.export(model.eval(), (images,), dynamic_shapes=(shape,))


_FORMS: dict[str, Callable[[Classifier, Path, dict[str, Any]], None]] = {
    ".safetensors": _safetensors,
    ".pt": _state_dict,
    ".pt2": _program,
    ".onnx": _onnx,
}
