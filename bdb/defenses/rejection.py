"""What detectors of inputs share: a score, and a threshold that few clean images exceed."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView, Inference, Outcome

Score = Callable[[Tensor], Tensor]


class Rejection(Inference):
    """Scores every input, and rejects those above what clean images, held out, score.

    A sub-class makes the score out of the suspect and the other part of the clean set.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set", "inputs"})
    mitigates: ClassVar[bool] = False

    false_positive_rate: float = Field(
        0.05, gt=0, lt=1, description="share of clean inputs that may be rejected"
    )
    held_out: float = Field(
        0.5, gt=0, lt=1, description="share of the clean set that sets the threshold"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Score the inputs and reject the highest; higher is more suspicious.

        Raises:
            ParamsError: the clean set has a single image.
        """
        known, held = view.split_clean(self.held_out)
        score = self.scorer(view, known)
        threshold = score(held.images).quantile(1 - self.false_positive_rate)
        scores = score(view.inputs)
        return Outcome(scores={"inputs": scores}, flagged={"inputs": scores > threshold})

    def scorer(self, view: DefenderView, known: ImageSet) -> Score:
        """What scores images (uint8, N x C x H x W), each on its own: float32, N, on the CPU.

        Args:
            view: with the model.
            known: the clean images that are not held out.
        """
        raise NotImplementedError
