"""Averaged weights: a lookahead whose average grows slower the longer it has been going."""

from __future__ import annotations

import torch
from torch import nn

EVERY = 5
_DECAY = 0.95**EVERY


class Lookahead:
    """The average of a model's weights and statistics, to which it is set back every five steps.

    Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, arXiv 2024, after Zhang et al.,
    Lookahead Optimizer, NeurIPS 2019. At a share t of the training the average keeps .95^5 t^3 of
    itself, so that early weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, steps: int) -> None:
        self.model = model
        self.steps = steps
        self.done = 0
        self.average = [tensor.clone() for tensor in self._tensors()]

    def after_step(self) -> None:
        """Call after every step; the last leaves the average in the model."""
        self.done += 1
        if self.done % EVERY == 0:
            self._blend(_DECAY * (self.done / self.steps) ** 3)
        elif self.done == self.steps:
            self._blend(1.0)

    @torch.no_grad()
    def _blend(self, decay: float) -> None:
        for average, tensor in zip(self.average, self._tensors(), strict=True):
            average.lerp_(tensor, 1 - decay)
            tensor.copy_(average)

    def _tensors(self) -> list[torch.Tensor]:
        return [tensor for tensor in self.model.state_dict().values() if tensor.is_floating_point()]
