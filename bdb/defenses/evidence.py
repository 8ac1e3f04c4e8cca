"""What a defense found, as named tensors: held to what it declares, kept beside the cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bdb import artifacts
from bdb.datasets.base import DataSpec
from bdb.defenses.base import Defense


def problem(evidence: Mapping[str, Tensor], defense: Defense, data: DataSpec) -> str | None:
    """What is wrong with a defense's evidence, in one line; None if nothing is."""
    for name in sorted({*evidence, *defense.evidence}):
        if name not in defense.evidence:
            reason = f"was not declared; declared are {_listed(defense.evidence)}"
        elif name not in evidence:
            reason = f"was declared and not given; given are {_listed(evidence)}"
        else:
            reason = _misshapen(evidence[name].detach(), data)
        if reason:
            return f"{defense.name}: evidence {name!r} {reason}"
    return None


def save(
    path: Path,
    evidence: Mapping[str, Tensor],
    defense: Defense,
    data: DataSpec,
    **metadata: Any,
) -> None:
    """Write evidence that has no `problem` as float32, with its order and the names of classes."""
    tensors = {name: tensor.float() for name, tensor in evidence.items()}
    facts = {"order": list(defense.evidence), "classes": list(data.classes), **metadata}
    artifacts.write_tensors(path, tensors, facts)


def _misshapen(tensor: Tensor, data: DataSpec) -> str:
    classes, (channels, height, width) = data.num_classes, data.shape
    rows, rest = tensor.shape[:1], tuple(tensor.shape[1:])
    maps = {(channels, height, width), (1, height, width)}
    if rows not in ((classes,), (1,)) or rest not in {(), *maps}:
        return (
            f"has shape {tuple(tensor.shape)}; allowed are images {(classes, *data.shape)}, masks "
            f"{(classes, 1, height, width)}, numbers ({classes},), or 1 row for all classes"
        )
    if not tensor.is_floating_point():
        return f"is {tensor.dtype}; it has to be of floats"
    if not bool(tensor.isfinite().all()):
        return "holds NaN or infinity"
    if rest and not 0 <= float(tensor.min()) <= float(tensor.max()) <= 1:
        low, high = float(tensor.min()), float(tensor.max())
        return f"lies in [{low:g}, {high:g}]; images and masks lie in [0, 1]"
    return ""


def _listed(names: Mapping[str, Any] | tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
