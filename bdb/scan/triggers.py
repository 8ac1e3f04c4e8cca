"""Triggers that a detector reversed: what they do to clean images, and to a clean model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bdb import artifacts
from bdb.datasets.base import ImageSet
from bdb.models.base import Classifier
from bdb.scan.finding import Finding
from bdb.training import inference

_MOST = 5  # classes of each detector
_TRANSFERS = 0.5  # of its success on the suspect; a trigger that keeps so much is natural


@dataclass(frozen=True)
class Reversed:
    """A trigger for one class.

    Attributes:
        detector: that found it.
        label: the class that it leads to.
        picture: what it puts on an image, float32 in [0, 1], C x H x W.
        asr: share of clean images of other classes that it turns; NaN without any.
        on_clean: the same on a clean model; None without one.
    """

    detector: str
    label: int
    picture: Tensor
    asr: float
    on_clean: float | None = None

    @property
    def origin(self) -> str:
        """Whether the trigger is of the data, or of the suspect alone; empty if nobody can tell.

        The latter does not mean that somebody planted it: what turns a clean model's answers need
        not turn another's.
        """
        if self.on_clean is None or not self.asr > 0:
            return ""
        return "natural" if self.on_clean >= _TRANSFERS * self.asr else "its own"


def test(
    findings: Iterable[Finding], model: Classifier, images: ImageSet, clean: Classifier | None
) -> Iterator[Reversed]:
    """Put every suspected class's trigger on the clean images of other classes.

    Args:
        findings: those with pictures and masks of triggers are looked at.
        model: the suspect.
        images: clean, under their true labels.
        clean: another model of these data, which nobody suspects.
    """
    for finding in findings:
        if not finding.evidence.keys() >= {"trigger", "mask"}:
            continue
        for label in finding.classes[:_MOST]:
            picture, mask = (_row(finding.evidence[name], label) for name in ("trigger", "mask"))
            others = images.images[images.labels != label]
            stamped = _stamp(others, picture, mask)
            asr, on_clean = (_turned(each, stamped, label) for each in (model, clean))
            yield Reversed(finding.detector, label, picture, asr or 0.0, on_clean)


def save(triggers: Iterable[Reversed], folder: Path) -> list[Path]:
    """Write each as a PNG file, named by detector and class number; the paths."""
    from PIL import Image

    paths = []
    for trigger in triggers:
        paths.append(folder / f"{trigger.detector}-class-{trigger.label}.png")
        pixels = np.round(255 * trigger.picture.permute(1, 2, 0).numpy()).astype(np.uint8)
        drawn = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
        with artifacts.replacing(paths[-1]) as temporary:
            drawn.save(temporary, format="PNG")
    return paths


def _row(found: Tensor, label: int) -> Tensor:
    """What was found for a class; one row is of all classes."""
    return found[label if len(found) > 1 else 0].detach().float().cpu()


def _stamp(images: Tensor, picture: Tensor, mask: Tensor) -> Tensor:
    """uint8, N x C x H x W, with a trigger on each."""
    return ((1 - mask) * images + 255 * picture).round().clamp(0, 255).to(torch.uint8)


def _turned(model: Classifier | None, stamped: Tensor, label: int) -> float | None:
    """The share that a model takes for this class; NaN of no images."""
    if model is None:
        return None
    if not len(stamped):
        return float("nan")
    return float((inference.logits(model, stamped).argmax(1) == label).float().mean())
