"""IBD-PSC: a triggered input keeps its confidence however much batch norms are amplified."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView
from bdb.defenses.rejection import Rejection, Score
from bdb.method import Paper
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.models.hooks import hooked
from bdb.registry import register
from bdb.training import inference

Changed = dict[str, Tensor]


@register("ibd_psc")
class ParameterScaling(Rejection):
    """Reject inputs that several models with amplified batch norms give the suspect's answer.

    The score is the mean probability of the class predicted, written as -log(1 - it): the order is
    the same, and what would round to 1 still differs. How many of the last norms are amplified is
    told by clean images: so many that most of them are misclassified.

    It expects one target: where every class is one, amplified norms lead to none of them.

    Differs: no fixed threshold, but that of the declared rate of false positives. The first model
    amplifies as many norms as were found, and norms come in the order in which images pass them;
    the reference amplifies one more, and takes the order of definition.
    """

    paper: ClassVar[Paper] = Paper(
        title="IBD-PSC: Input-level Backdoor Detection via Parameter-oriented Scaling Consistency",
        authors="Hou, Feng, Hua, Luo, Zhang, Li",
        venue="ICML",
        year=2024,
        url="https://arxiv.org/abs/2405.09786",
    )
    requires: ClassVar[frozenset[str]] = frozenset({"batch_norm"})

    omega: float = Field(1.5, gt=1, description="that scales and biases are multiplied by")
    models: int = Field(5, ge=1, description="amplified models, each of one more norm")
    error: float = Field(
        0.6, gt=0, lt=1, description="share of clean images that the first one misclassifies"
    )

    def scorer(self, view: DefenderView, known: ImageSet) -> Score:
        """How sure the amplified models are of the class that the suspect predicts."""
        model = view.model.requires_grad_(False)
        norms = in_order(model)
        first = self.first(model, norms, known)
        last = min(first + self.models, len(norms) + 1)
        amplified = [self.amplify(norms[-count:]) for count in range(first, last)]

        def consistency(batch: Tensor) -> Tensor:
            own = model(batch).argmax(1)[:, None, None].expand(-1, len(amplified), 1)
            odds = [functional_call(model, each, (batch,)).log_softmax(1) for each in amplified]
            others = torch.stack(odds, 1).scatter(2, own, -torch.inf)
            return math.log(len(odds)) - others.flatten(1).logsumexp(1)

        return lambda images: inference.in_batches(consistency, images, view.device)

    def first(
        self, model: Classifier, norms: list[tuple[str, nn.BatchNorm2d]], known: ImageSet
    ) -> int:
        """How many of the last norms the first model amplifies.

        So few that all models fit in, if amplifying them does not misclassify as many images.
        """
        most = max(1, len(norms) - self.models + 1)
        for count in range(1, most):
            changed = self.amplify(norms[-count:])
            if self._errs(model, changed, known) > self.error:
                return count
        return most

    def amplify(self, norms: list[tuple[str, nn.BatchNorm2d]]) -> Changed:
        """These norms' scales and biases, multiplied."""
        return {
            f"{name}.{part}": self.omega * parameter.detach()
            for name, norm in norms
            for part, parameter in norm.named_parameters()
        }

    def _errs(self, model: Classifier, changed: Changed, known: ImageSet) -> float:
        device = next(model.parameters()).device
        logits = inference.in_batches(
            lambda batch: functional_call(model, changed, (batch,)), known.images, device
        )
        return float((logits.argmax(1) != known.labels.cpu()).float().mean())


def in_order(model: Classifier) -> list[tuple[str, nn.BatchNorm2d]]:
    """The batch norms with their names, in the order in which an image last passes them."""
    passed: dict[str, nn.BatchNorm2d] = {}

    def note(norm: nn.BatchNorm2d, name: str) -> None:
        passed.pop(name, None)
        passed[name] = norm

    hooks = (
        norm.register_forward_hook(lambda norm, *_, name=name: note(norm, name))
        for name, norm in surgery.batch_norms(model).items()
    )
    with hooked(hooks):
        inference.logits(model, torch.zeros(1, *model.spec.data.shape, dtype=torch.uint8))
    return list(passed.items())
