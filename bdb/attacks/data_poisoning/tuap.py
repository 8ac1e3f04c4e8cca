"""TUAP: a universal perturbation that already draws a clean model to the target; labels stay."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.attacks.base import AttackContext, DataPoisoning, LabelMode, Role, State
from bdb.attacks.perturbations import universal
from bdb.method import Paper
from bdb.registry import register
from bdb.training import adversarial
from bdb.training.loop import to_bytes, to_float


@register("tuap")
class TargetedUniversal(DataPoisoning):
    """A faint perturbation of the whole image, the same for all, on adversarial target images.

    Differs: the paper's videos carry it as a patch; on images it is spread over the whole, as
    others have done since. It lowers the cross-entropy of the target by Adam in batches, and looks
    at no image of the target class.
    """

    paper: ClassVar[Paper] = Paper(
        title="Clean-Label Backdoor Attacks on Video Recognition Models",
        authors="Zhao, Ma, Zheng, Bailey, Chen, Jiang",
        venue="CVPR",
        year=2020,
        url="https://arxiv.org/abs/2003.03030",
    )
    label_mode: ClassVar[LabelMode] = "clean"
    needs: ClassVar[frozenset[str]] = frozenset({"clean_model"})
    shares_trigger: ClassVar[bool] = True

    eps: float = Field(8, gt=0, le=255, description="largest change of a pixel, in grey levels")
    eps_test: float | None = Field(
        None, gt=0, le=255, description="likewise at test time, by scaling; eps if left out"
    )
    epochs: int = Field(10, ge=1, description="passes of the search over the samples")
    samples: int = Field(5000, ge=1, description="images of other classes it is optimised on")
    lr: float = Field(1.0, gt=0, le=255, description="how far a step moves a pixel, in grey levels")
    enhance_eps: float = Field(
        8,
        ge=0,
        le=255,
        description="by which poisons are first moved away from their class; 0: not",
    )
    enhance_steps: int = Field(10, ge=1, description="of that search")

    def prepare_trigger(self, context: AttackContext) -> State:
        """Search the perturbation: float32, C x H x W, in pixels of [0, 1]."""
        train = context.train
        others = (train.labels != self.target).nonzero().flatten()
        order = torch.randperm(len(others), generator=context.generator(self.name, "samples"))
        chosen = train[others[order[: self.samples].to(others.device)]]
        bound = torch.full(context.data.shape, self.eps / 255)
        perturbation = universal(
            context,
            context.clean_model,
            replace(chosen, labels=torch.full_like(chosen.labels, self.target)),
            torch.zeros_like(bound),
            (-bound, bound),
            epochs=self.epochs,
            lr=self.lr / 255,
            what=self.name,
        )
        return {"perturbation": perturbation}

    def craft(
        self, images: Tensor, labels: Tensor, context: AttackContext, state: State, ids: Tensor
    ) -> Tensor:
        """Weaken what the images show of their class, and stamp them."""
        clean = to_float(images)
        weak = adversarial.search(
            context.clean_model,
            clean,
            labels,
            self.enhance_eps / 255,
            self.enhance_steps,
            torch.zeros_like(clean),
        )
        return self.stamp(to_bytes(weak), state, role="poison", ids=ids, targets=labels)

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Add the perturbation, and clamp."""
        scale = (self.eps_test or self.eps) / self.eps if role == "test" else 1.0
        return to_bytes(to_float(images) + scale * state["perturbation"])
