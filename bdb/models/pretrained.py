"""Weights that a model begins with: published ones, kept by torch, or the user's own file.

Nothing is downloaded: a compute node may have no network, and a job that fetches what it is judged
by cannot be told from one that does not.
"""

from __future__ import annotations

import hashlib
import pickle
import shlex
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bdb import layout
from bdb.errors import ParamsError
from bdb.torchvision_ops import load


def read(name: str, weights: str) -> dict[str, Tensor]:
    """The state dict that a torchvision network begins with.

    Args:
        name: torchvision's, of the network.
        weights: as the field says: `imagenet`, or a path to safetensors or to a state dict.

    Raises:
        ParamsError: the file is not there, is damaged, or holds something else than tensors.
    """
    own = layout.own_weights(weights)
    path = published(name) if own is None else own
    field = f"models.{name}.weights"
    if not path.is_file():
        raise ParamsError(f"{field}: {path} is not there{_remedy(name) if own is None else ''}")
    if own is None and not _is_published(path):
        raise ParamsError(f"{field}: {path} is damaged, or another file{_remedy(name)}")
    try:
        found = load_file(path) if path.suffix == ".safetensors" else _load(path)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.PickleError) as error:
        raise ParamsError(f"{field}: {path} cannot be read ({_first_line(error)})") from error
    except SafetensorError as error:
        raise ParamsError(f"{field}: {path} is no safetensors ({_first_line(error)})") from error
    if not isinstance(found, dict) or not all(torch.is_tensor(each) for each in found.values()):
        raise ParamsError(f"{field}: {path} holds more than tensors by name; save a `state_dict()`")
    return dict(found)


def published(name: str) -> Path:
    """Where torch keeps the weights that torchvision published for a network."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _url(name).rpartition("/")[2]


def _url(name: str) -> str:
    """Of the first weights, which are those of the papers: later ones come of another training."""
    url: str = load().models.get_model_weights(name)["IMAGENET1K_V1"].url
    return url


def _is_published(path: Path) -> bool:
    """Whether the content is what the name says: torch ends it on the beginning of the SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest.startswith(path.stem.rpartition("-")[2])


def _load(path: Path) -> object:
    return torch.load(path, map_location="cpu", weights_only=True)


def _remedy(name: str) -> str:
    command = shlex.join(["curl", "--create-dirs", "-Lo", str(published(name)), _url(name)])
    return f"; where there is a network: {command}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
