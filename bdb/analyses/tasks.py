"""The two tasks that a victim has learned, on test images: the clean one, and the backdoor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.analyses import common
from bdb.analyses.base import AnalysisView
from bdb.report import style
from bdb.training import inference

CLEAN, BACKDOOR = "clean", "backdoor"


@dataclass(frozen=True)
class Task:
    """Images, and what is wanted of them: their true class, or the target under the trigger.

    Attributes:
        images: uint8, N x C x H x W, on the CPU.
        labels: int64, N.
    """

    name: str
    images: Tensor
    labels: Tensor

    COLORS: ClassVar[dict[str, str]] = {CLEAN: style.BLUE, BACKDOOR: style.VERMILION}
    TITLES: ClassVar[dict[str, str]] = {
        CLEAN: "clean images, true class",
        BACKDOOR: "triggered images, target",
    }

    @property
    def color(self) -> str:
        """In which the task is drawn."""
        return self.COLORS[self.name]

    def measure(self, model: nn.Module) -> tuple[float, float]:
        """Mean cross-entropy, and the share of images that get what is wanted (C-Acc or ASR).

        Both are NaN where there is no image.
        """
        if not len(self.images):
            return float("nan"), float("nan")
        logits = inference.logits(model, self.images)
        rate = (logits.argmax(1) == self.labels).float().mean()
        return float(cross_entropy(logits, self.labels)), float(rate)


def both(view: AnalysisView, samples: int) -> tuple[Task, Task]:
    """So many images of each task, spread over the classes; needs `test` and `triggered`."""
    clean = common.spread(view.test.labels, samples, view.generator("tasks", CLEAN))
    chosen = common.stamped(view, samples, "tasks", BACKDOOR)
    images, targets = view.triggered.images.cpu(), view.triggered.targets.cpu()
    return (
        Task(CLEAN, view.test.images.cpu()[clean], view.test.labels.cpu()[clean]),
        Task(BACKDOOR, images[chosen], targets[chosen]),
    )


def pairs(view: AnalysisView, samples: int) -> tuple[Tensor, Tensor]:
    """The images of the backdoor task of `both` without the trigger, and with it.

    Raises:
        ParamsError: there are none.
    """
    _, clean, triggered = common.pairs(view, samples, "tasks", BACKDOOR)
    return clean, triggered
