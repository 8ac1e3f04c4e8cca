"""What several analyses need of images: a fair choice, pixels to draw, names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bdb.analyses.base import AnalysisView
from bdb.attacks.poisoning import Triggered
from bdb.datasets.base import ImageSet
from bdb.errors import ParamsError
from bdb.training import inference

if TYPE_CHECKING:
    from matplotlib.axis import Axis

_NAMED = 24  # layers that have room for their names


class Choice(NamedTuple):
    """Some clean test images of every class, and with the trigger those that it is meant for.

    Attributes:
        clean: N of them, on the CPU.
        triggered: T of them, likewise.
        twins: int64, T: the position in `clean` of what each triggered one was made from.
    """

    clean: ImageSet
    triggered: Triggered
    twins: Tensor


def choose(view: AnalysisView, count: int, *names: object) -> Choice:
    """Choose `count` clean test images, evenly from the classes; needs `test` and `triggered`.

    Args:
        view: of what is looked at.
        count: of clean images; of all that there are if they are fewer.
        names: what the choice is for.

    Raises:
        ParamsError: of these none is of a class that the trigger is meant for.
    """
    rows = spread(view.test.labels, count, view.generator(*names)).sort().values
    whole = view.triggered.to("cpu")
    mine = torch.isin(whole.ids, rows) & whole.is_source
    if not mine.any():
        raise ParamsError(
            f"attack: of {len(rows)} test images none is of a class that {view.run.attack} is "
            "meant for"
        )
    triggered = Triggered(**{name: tensor[mine] for name, tensor in vars(whole).items()})
    return Choice(view.test.to("cpu")[rows], triggered, torch.searchsorted(rows, triggered.ids))


def spread(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Positions of `count` samples, drawn evenly from the classes: int64, ordered by class."""
    labels = labels.cpu()
    order = torch.randperm(len(labels), generator=generator)
    turn = torch.empty(len(labels), dtype=torch.int64)
    for label in labels.unique():
        mine = order[labels[order] == label]
        turn[mine] = torch.arange(len(mine))
    first = order[turn[order].argsort(stable=True)][:count]
    return first[labels[first].argsort(stable=True)]


def stamped(view: AnalysisView, count: int, *names: object) -> Tensor:
    """Positions of `count` triggered images, spread over the classes that the trigger is meant for.

    Args:
        view: it declares `triggered`.
        count: at most so many.
        names: of the generator that draws them.

    Returns:
        int64; empty if the trigger is meant for none of them.
    """
    meant = view.triggered.is_source.cpu().nonzero().flatten()
    labels = view.triggered.labels.cpu()[meant]
    return meant[spread(labels, count, view.generator(*names))]


def pairs(view: AnalysisView, count: int, *names: object) -> tuple[Tensor, Tensor, Tensor]:
    """The images that `stamped` chooses, beside their originals; needs `test` as well.

    Returns:
        Their positions, the originals and the triggered images; all on the CPU.

    Raises:
        ParamsError: there are none.
    """
    rows = stamped(view, count, *names)
    if not len(rows):
        raise ParamsError(
            f"attack: no test image is of a class that {view.run.attack} is meant for"
        )
    return rows, view.originals().images.cpu()[rows], view.triggered.images.cpu()[rows]


def predictions(view: AnalysisView, images: Tensor) -> Tensor:
    """The class that the model looked at gives each image: int64, N, on the CPU."""
    if not len(images):
        return torch.empty(0, dtype=torch.int64)
    return inference.logits(view.model, images).argmax(1)


def slopes(view: AnalysisView, images: Tensor, classes: Tensor) -> Tensor:
    """The gradient of each image's logit of its class by its pixels.

    Args:
        view: of the model.
        images: float in [0, 1], N x C x H x W, on the view's device.
        classes: int64, N.

    Returns:
        Of the images' shape, on their device.
    """
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(logits_of(view, images, classes).sum(), images)
    return gradient


def logits_of(view: AnalysisView, images: Tensor, classes: Tensor) -> Tensor:
    """Each image's logit of its class, N; gradients reach the images, floats in [0, 1]."""
    logits: Tensor = view.model(images)
    return logits.gather(1, classes.to(view.device)[:, None])[:, 0]


def drawable(image: Tensor) -> np.ndarray:
    """One uint8 image, C x H x W, as matplotlib draws it: H x W x 3."""
    pixels = image.cpu().permute(1, 2, 0).numpy()
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)) if pixels.shape[2] == 1 else pixels


def name_layers(axis: Axis, names: Sequence[str], **look: Any) -> None:
    """Tick an axis at each layer, from 0; of many, name every so many, and the last."""
    stride = -(-len(names) // _NAMED)
    last = len(names) - 1
    named = [name if (last - at) % stride == 0 else "" for at, name in enumerate(names)]
    axis.set_ticks(range(len(names)), named, **look)


def class_name(view: AnalysisView, label: int, width: int = 13) -> str:
    """A class's name, cut in the middle if need be: long names often differ at their ends."""
    name = view.data.classes[label]
    if len(name) <= width:
        return name
    half = (width - 1) // 2
    return f"{name[:half].rstrip()}…{name[-half:].lstrip()}"
