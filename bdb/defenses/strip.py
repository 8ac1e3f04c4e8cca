"""STRIP: a triggered input keeps its prediction whatever is laid over it."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.defenses.base import DefenderView, Defense, Outcome
from bdb.method import Paper
from bdb.registry import register
from bdb.training import inference
from bdb.training.loop import to_float


@register("strip")
class Strip(Defense):
    """Reject inputs whose predictions stay certain under superimposed clean images."""

    paper: ClassVar[Paper] = Paper(
        title="STRIP: A Defence Against Trojan Attacks on Deep Neural Networks",
        authors="Gao, Xu, Wang, Chen, Ranasinghe, Nepal",
        venue="ACSAC",
        year=2019,
        url="https://arxiv.org/abs/1902.06531",
    )
    stage: ClassVar = "inference"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set", "inputs"})
    mitigates: ClassVar[bool] = False

    overlays: int = Field(100, ge=1, description="clean images laid over each input")
    alpha: float = Field(1.0, gt=0, le=1, description="weight of the image laid over")
    false_positive_rate: float = Field(
        0.1, gt=0, lt=1, description="share of clean inputs that may be rejected"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Score by the negative entropy: triggered inputs score high.

        The clean images that set the threshold are not among those laid over, so none meets
        itself, and they are treated as the inputs will be.
        """
        clean = view.clean_set.images.cpu()
        order = torch.randperm(len(clean), generator=view.generator("overlays"))
        chosen = min(self.overlays, len(clean) // 2)
        over = clean[order[:chosen]]
        scores = -self.entropy(view, view.inputs, over)
        ordinary = -self.entropy(view, clean[order[chosen:]], over)
        threshold = ordinary.quantile(1 - self.false_positive_rate)
        return Outcome(scores={"inputs": scores}, flagged={"inputs": scores > threshold})

    def entropy(self, view: DefenderView, images: Tensor, over: Tensor) -> Tensor:
        """Mean entropy of each image's predictions under every overlay, in nats: float32, N.

        Args:
            view: with the model.
            images: uint8, N x C x H x W.
            over: uint8, M x C x H x W; sums saturate, as in the paper.
        """
        layers = self.alpha * to_float(over.to(view.device))

        def mean_entropy(batch: Tensor) -> Tensor:
            total = torch.zeros(len(batch), device=batch.device)
            for layer in layers:
                odds = view.model((batch + layer).clamp_(max=1)).softmax(1)
                total += torch.special.entr(odds).sum(1)
            return total / len(layers)

        return inference.in_batches(mean_entropy, images, view.device)
