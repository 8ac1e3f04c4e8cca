"""STRIP on training samples: poison keeps its prediction whatever is laid over it."""

from __future__ import annotations

from typing import ClassVar

from bdb.defenses import filtering
from bdb.defenses.base import DefenderView, Outcome, PreTraining
from bdb.defenses.superposition import Superposition
from bdb.method import Trace
from bdb.registry import register


@register("strip_train")
class StripTrain(Superposition, PreTraining):
    """Drop training samples whose predictions stay certain under clean images, and train again.

    Poison is not taken for the smaller part of its class. Clean samples that the model is sure of
    stay certain too, the easiest first: each is lost at the declared rate.

    Differs: the paper judges inputs; that the training set is cleansed so is BackdoorBench's use of
    it, whose published AUROC there is one less the right one.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set", "clean_set"})
    looks_at: ClassVar[Trace] = "inputs"

    def run(self, view: DefenderView) -> Outcome:
        """Score the training set, drop the highest, and train again.

        Raises:
            ParamsError: the clean set has a single image.
        """
        scores, flagged = self.judge(view, view.train_set.images)
        return filtering.without(self, view, scores, flagged)
