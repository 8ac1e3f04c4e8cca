"""Narcissus: noise that shows the target class more purely than its images; labels stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.attacks.base import AttackContext, DataPoisoning, LabelMode, Role, State
from bdb.attacks.perturbations import universal
from bdb.attacks.surrogates import Surrogate
from bdb.datasets.base import ImageSet
from bdb.method import Paper
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training.loop import to_bytes, to_float


@register("narcissus")
class Narcissus(DataPoisoning):
    """Faint noise that points into the target class, made from its images and foreign data alone.

    Differs: the surrogate is trained on the foreign data first, by the victim's recipe, and then
    tuned with the target as one more class, which the reference does at once; Adam for RAdam; the
    surrogate's batch statistics are frozen while the noise is made.
    """

    paper: ClassVar[Paper] = Paper(
        title="Narcissus: A Practical Clean-Label Backdoor Attack with Limited Information",
        authors="Zeng, Pan, Just, Lyu, Qiu, Jia",
        venue="CCS",
        year=2023,
        url="https://arxiv.org/abs/2204.05255",
    )
    label_mode: ClassVar[LabelMode] = "clean"
    foreign_field: ClassVar[str] = "foreign"
    surrogates: ClassVar[Mapping[str, Surrogate]] = {"foreign": Surrogate(foreign=True)}
    shares_trigger: ClassVar[bool] = True

    foreign: str = Field(
        "cifar100",
        min_length=1,
        description="public data set that the surrogate is trained on",
        json_schema_extra={"names": "dataset"},
    )
    tuning_epochs: int = Field(10, ge=1, description="of the surrogate, with the target added")
    warmup_epochs: int = Field(5, ge=0, description="of the surrogate, on the target class alone")
    eps: float = Field(16, gt=0, le=255, description="largest change of a pixel, in grey levels")
    amplification: float = Field(3.0, gt=0, le=100, description="of the noise at test time")
    rounds: int = Field(1000, ge=1, description="passes of the search over the target's images")
    lr: float = Field(0.005, gt=0, le=1, description="how far a step moves a pixel, of 1")

    def prepare_trigger(self, context: AttackContext) -> State:
        """Make the noise: float32, C x H x W, in [-eps, eps] / 255."""
        chosen = context.train[context.train.labels == self.target]
        model = _with_one_class_more(context.surrogate("foreign"))
        last = torch.full_like(chosen.labels, model.head.out_features - 1)
        target = replace(chosen, labels=last)
        self._tune(context, model, target)
        bound = torch.full(context.data.shape, self.eps / 255)
        noise = universal(
            context,
            model,
            target,
            torch.zeros_like(bound),
            (-bound, bound),
            epochs=self.rounds,
            lr=self.lr,
            what=self.name,
        )
        return {"noise": noise}

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Add the noise, and clamp; stronger at test time."""
        gain = self.amplification if role == "test" else 1.0
        return to_bytes(to_float(images) + gain * state["noise"])

    def _tune(self, context: AttackContext, model: Classifier, target: ImageSet) -> None:
        """Teach the surrogate the target class, among the foreign ones and then alone."""
        foreign = context.foreign
        both = ImageSet.whole(
            torch.cat([foreign.images, target.images]), torch.cat([foreign.labels, target.labels])
        )
        for what, data, epochs in (
            ("tune", both, self.tuning_epochs),
            ("warm up", target, self.warmup_epochs),
        ):
            if epochs:
                recipe = context.recipe.model_copy(update={"epochs": epochs})
                context.fit(model, data, recipe, what=f"{self.name} {what}")


@torch.no_grad()
def _with_one_class_more(model: Classifier) -> Classifier:
    """A copy whose head has a row of zeros more."""
    wider = models.duplicate(model)
    old = model.head
    wider.head = nn.Linear(old.in_features, old.out_features + 1, bias=old.bias is not None)
    for name, weights in wider.head.named_parameters():
        weights.zero_()
        weights[:-1] = getattr(old, name)
    return wider.to(old.weight.device)
