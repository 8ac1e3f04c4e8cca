"""STRIP: a triggered input keeps its prediction whatever is laid over it."""

from __future__ import annotations

from typing import ClassVar

from bdb.defenses.base import DefenderView, Inference, Outcome
from bdb.defenses.superposition import Superposition
from bdb.registry import register


@register("strip")
class Strip(Superposition, Inference):
    """Reject inputs whose predictions stay certain under superimposed clean images.

    Differs: the paper adds images with saturation (`mix: add`); here, as in BackdoorBench,
    normalised images are added without a bound. Which is best depends on trigger and data. AUROC of
    sum, add, add at `alpha: 0.5`, and blend at 0.5: a patch on a CIFAR-10 subset (PreActResNet18 of
    width 16) .995, .839, .864, .769; blended noise there (width 8) 1, 1, 1, .960; blended noise on
    digits, which are mostly black, .357, .963, .959, .982.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set", "inputs"})
    mitigates: ClassVar[bool] = False

    def run(self, view: DefenderView) -> Outcome:
        """Score the inputs, and reject the highest.

        Raises:
            ParamsError: the clean set has a single image.
        """
        scores, flagged = self.judge(view, view.inputs)
        return Outcome(scores={"inputs": scores}, flagged={"inputs": flagged})
