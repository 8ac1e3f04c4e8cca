"""Soft labels of clean images that move a network's weights as poisons would."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import one_hot

from bdb.datasets.base import ImageSet
from bdb.training import optimizers
from bdb.training.loop import Batch, to_float

_TINY = 1e-12


class Search:
    """Matches a student's step to that of an expert, who learns poisons beside the clean images.

    `match` is a hook of the expert's training on `data` (`before_update` of the loop).

    Args:
        clean: images and true labels, which the soft labels are at first.
        poisons: further images of the expert's, and its labels for them; on the same device.
        classes: that there are.
        rates: learning rate and momentum of the soft labels.
        batch_size: images whose steps are matched, of both kinds.
        interval: steps of the expert for each that is matched.
        draws: generator of the batches, on the CPU.

    Attributes:
        data: the clean images, and then the poisons; ids count from 0.
        labels: float32, as many x classes; those of the poisons stay as they are.
    """

    def __init__(
        self,
        clean: ImageSet,
        poisons: ImageSet,
        classes: int,
        rates: tuple[float, float],
        batch_size: int,
        interval: int,
        draws: torch.Generator,
    ) -> None:
        images = torch.cat([clean.images, poisons.images])
        self.data = ImageSet.whole(images, torch.cat([clean.labels, poisons.labels]))
        self.expert = one_hot(self.data.labels, classes).float()
        self.labels = self.expert.clone().requires_grad_()
        self.clean, self.batch_size, self.interval = len(clean), batch_size, interval
        self.draws, self.steps = draws, 0
        self.optimizer = torch.optim.SGD([self.labels], *rates)

    def match(self, model: nn.Module, _: Batch, optimizer: torch.optim.Optimizer) -> None:
        """Bring the student's step nearer to the expert's, from the weights as they are."""
        self.steps += 1
        if self.steps % self.interval == 0:
            order = torch.randperm(len(self.data), generator=self.draws)
            chosen = order[: self.batch_size].to(self.labels.device)
            distance = self.distance(model, chosen).clamp_min(_TINY)
            loss = (distance / optimizers.stride(optimizer).clamp_min(_TINY)).sqrt()
            (self.labels.grad,) = torch.autograd.grad(loss, self.labels)
            self.optimizer.step()

    def distance(self, model: nn.Module, chosen: Tensor) -> Tensor:
        """Between two steps of SGD on a batch, squared, per learning rate; differentiable.

        Momentum and weight decay are the same in both. The poisons take part in the statistics of
        the student's batch norms, but not in its loss.
        """
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        images = to_float(self.data.images[chosen])
        predicted = functional_call(model, buffers, (images,)).log_softmax(1)
        student = self.labels[chosen] * (chosen < self.clean)[:, None]
        gap = ((student - self.expert[chosen]) * predicted).sum() / len(chosen)
        slopes = torch.autograd.grad(gap, list(model.parameters()), create_graph=True)
        return torch.stack([slope.square().sum() for slope in slopes]).sum()
