"""What is left of a prediction under other images: what both forms of STRIP share."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bdb.defenses.base import DefenderView, Defense
from bdb.errors import ParamsError
from bdb.method import Paper
from bdb.training import device as devices
from bdb.training import inference
from bdb.training.loop import to_float


class Superposition(Defense):
    """Lays clean images over each image, and scores by how certain the model stays."""

    paper: ClassVar[Paper] = Paper(
        title="STRIP: A Defence Against Trojan Attacks on Deep Neural Networks",
        authors="Gao, Xu, Wang, Chen, Ranasinghe, Nepal",
        venue="ACSAC",
        year=2019,
        url="https://arxiv.org/abs/1902.06531",
    )
    overlays: int = Field(100, ge=1, description="clean images laid over each image")
    mix: Literal["sum", "add", "blend"] = Field(
        "sum", description="normalised images, unbounded; pixels, saturating; a weighted mean"
    )
    alpha: float = Field(1.0, gt=0, le=1, description="weight of the image laid over")
    false_positive_rate: float = Field(
        0.1, gt=0, lt=1, description="share of clean images above the threshold"
    )

    def judge(self, view: DefenderView, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score images by the negative entropy, and say which exceed the threshold.

        The clean images that set the threshold are not among those laid over, so none meets
        itself, and they are treated as the images will be.

        Args:
            view: with the model and the clean set.
            images: uint8, N x C x H x W.

        Returns:
            float32, N, and bool, N, on the CPU.

        Raises:
            ParamsError: the clean set has a single image.
        """
        clean = view.clean_set.images.cpu()
        if len(clean) < 2:
            raise ParamsError(
                f"clean_set: {self.name} needs 2 images or more, not {len(clean)}; raise fraction"
            )
        order = torch.randperm(len(clean), generator=view.generator("overlays"))
        chosen = min(self.overlays, len(clean) // 2)
        over = clean[order[:chosen]]
        scores = -self.entropy(view, images, over)
        ordinary = -self.entropy(view, clean[order[chosen:]], over)
        return scores, scores > ordinary.quantile(1 - self.false_positive_rate)

    def entropy(self, view: DefenderView, images: Tensor, over: Tensor) -> Tensor:
        """Mean entropy of each image's predictions under every overlay, in nats: float32, N.

        Args:
            view: with the model.
            images: uint8, N x C x H x W.
            over: uint8, M x C x H x W.
        """
        layers = to_float(over.to(view.device))
        mean = torch.tensor(view.data.mean).view(-1, 1, 1).to(view.device)

        def mean_entropy(batch: Tensor) -> Tensor:
            total = torch.zeros(len(batch), device=batch.device)
            with devices.autocast(view.device):  # a mean over many needs no more
                for layer in layers:
                    odds = view.model(self.lay(batch, layer, mean)).float().softmax(1)
                    total += torch.special.entr(odds).sum(1)
            return total / len(layers)

        return inference.in_batches(mean_entropy, images, view.device)

    def lay(self, images: Tensor, over: Tensor, mean: Tensor) -> Tensor:
        """One image over others.

        Args:
            images: floats in [0, 1], N x C x H x W.
            over: floats in [0, 1], C x H x W.
            mean: what the model subtracts, C x 1 x 1.
        """
        if self.mix == "blend":
            return torch.lerp(images, over, self.alpha)
        if self.mix == "add":
            return (images + self.alpha * over).clamp_(max=1)
        # What the model makes of this is the sum of both images after normalisation.
        return images + self.alpha * (over - mean)
