"""Cognitive Distillation: of a poisoned image a model needs little to answer as it does."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bdb.console import track
from bdb.defenses import filtering
from bdb.defenses.base import DefenderView, Outcome, PreTraining
from bdb.method import Paper
from bdb.registry import register
from bdb.training import device as devices
from bdb.training import seeds
from bdb.training.loop import to_float

_BATCH = 512


@register("cd")
class CognitiveDistillation(PreTraining):
    """Search the smallest mask of each image that keeps its answer; drop images of small ones.

    What the mask leaves out is painted over in a colour that changes with every step. It takes as
    many passes forth and back as steps: on large training sets the dearest of the detectors. Each
    sample is judged alone, so that poison may be most of its class, and of any class. Where the
    logits of a poisoned image tell what it shows as well, as a small network's on digits do, its
    mask keeps that, too (AUROC .6 for a patch); its probabilities are those of the trigger alone
    (.96). A trigger that is all over the image needs more of it: of `wanet` and `sig` a third stays
    below the threshold there (AUROC .89 and .85), which is enough for a backdoor.

    Differs: below what norm a mask is small is told by a quantile of clean images, where the paper
    takes their mean less their deviation. The reference flags large ones.
    """

    paper: ClassVar[Paper] = Paper(
        title="Distilling Cognitive Backdoor Patterns within an Image",
        authors="Huang, Ma, Erfani, Bailey",
        venue="ICLR",
        year=2023,
        url="https://arxiv.org/abs/2301.10908",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set", "clean_set"})

    keeps: Literal["logits", "probabilities"] = Field(
        "logits", description="what the rest of the image has to be answered alike in"
    )
    steps: int = Field(100, ge=1, description="of the search")
    lr: float = Field(0.1, gt=0, description="learning rate of Adam")
    size_weight: float = Field(0.01, ge=0, description="weight of the mask's sum")
    roughness_weight: float = Field(10.0, ge=0, description="weight of its total variation")
    false_positive_rate: float = Field(
        0.05, gt=0, lt=1, description="share of clean images above the threshold"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Score by how small the mask is, and train again."""
        scores, ordinary = (
            torch.cat([1 - self.size(view, part) for part in track(images.split(_BATCH), "masks")])
            for images in (view.train_set.images, view.clean_set.images)
        )
        flagged = scores > ordinary.quantile(1 - self.false_positive_rate)
        return filtering.without(self, view, scores, flagged)

    def size(self, view: DefenderView, images: Tensor) -> Tensor:
        """The share of each image that is needed: float32, N, on the CPU."""
        view.model.requires_grad_(False)
        pixels = to_float(images.to(view.device))
        with torch.no_grad():
            wanted = self.answers(view, pixels)
        colours = seeds.uniform_by_content(
            pixels, self.steps * pixels.shape[1], seeds.derive(view.seed, "colours")
        ).view(len(pixels), self.steps, -1, 1, 1)
        raw = torch.ones_like(pixels[:, :1]).requires_grad_()
        adam = torch.optim.Adam([raw], self.lr, betas=(0.1, 0.1))
        for step in range(self.steps):
            mask = mask_of(raw)
            shown = mask * pixels + (1 - mask) * colours[:, step]
            loss = (self.answers(view, shown) - wanted).abs().mean(1)
            loss = loss + self.size_weight * mask.sum((1, 2, 3))
            loss = loss + self.roughness_weight * roughness(mask)
            (raw.grad,) = torch.autograd.grad(loss.sum(), raw)
            adam.step()
        return mask_of(raw).detach().mean((1, 2, 3)).cpu()

    def answers(self, view: DefenderView, images: Tensor) -> Tensor:
        """What is to be kept, of floats in [0, 1]: float32, n x K."""
        with devices.autocast(view.device):
            logits = view.model(images).float()
        return logits.softmax(1) if self.keeps == "probabilities" else logits


def mask_of(raw: Tensor) -> Tensor:
    """Unbounded values -> values in [0, 1]."""
    return raw.tanh() / 2 + 0.5


def roughness(masks: Tensor) -> Tensor:
    """Total variation: squared steps between neighbours, by the pixel; N x 1 x H x W -> N."""
    down = (masks[:, :, 1:] - masks[:, :, :-1]).square().sum((1, 2, 3))
    across = (masks[..., 1:] - masks[..., :-1]).square().sum((1, 2, 3))
    return (down + across) / masks[0].numel()
