"""Loss and gradients of a batch; on a GPU as one CUDA graph, if the step may be recorded.

At batch 128 a small network is done before Python has launched the next few hundred kernels. A
recorded step is launched as a whole. It repeats exactly what it did when it was recorded, so a step
must say that this is enough: see `recordable`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from bdb.training import device as devices
from bdb.training.batches import Batch, Step

SWITCH = "BDB_CUDA_GRAPHS"
# Recording takes about as long as this many steps save.
WORTHWHILE = 50
_WARM_UPS = 3

F = TypeVar("F", bound=Callable[..., Tensor])
Backward = Callable[[Batch], Tensor]


def recordable(step: F) -> F:
    """Declare that a step does the same work on every batch, whatever images and labels it holds.

    No look at values from Python, no shapes that hang on them, nothing kept between steps, no draws
    of its own, and nothing that changes with `batch.epoch`.
    """
    step.recordable = True  # type: ignore[attr-defined]
    return step


def backward(
    step: Step,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    steps: int,
) -> Backward:
    """A function that leaves a batch's gradients in the parameters and returns its loss.

    Args:
        step: gives the loss.
        model: in the mode and on the device in which it is trained.
        optimizer: whose gradients are cleared before each batch.
        device: of model and batches.
        steps: how many batches are to come.
    """
    eager = Eager(step, model, optimizer, device)
    can = device.type == "cuda" and getattr(step, "recordable", False) and not _has_hooks(model)
    if can and steps >= WORTHWHILE and os.environ.get(SWITCH) != "0":
        return Recorded(eager)
    return eager


class Eager:
    """Kernel by kernel."""

    def __init__(
        self,
        step: Step,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
    ) -> None:
        self.step = step
        self.model = model
        self.optimizer = optimizer
        self.device = device

    def __call__(self, batch: Batch) -> Tensor:
        """Forward and backward."""
        with devices.autocast(self.device):
            loss = self.step(self.model, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss.detach()


@dataclass(frozen=True)
class Recording:
    """A recorded step with its own memory.

    Attributes:
        batch: what the graph reads.
        loss: what it writes, beside the gradients.
        gradients: by parameter.
    """

    graph: torch.cuda.CUDAGraph
    batch: Batch
    loss: Tensor
    gradients: list[tuple[nn.Parameter, Tensor]]

    def play(self, batch: Batch) -> Tensor:
        """Repeat the step on another batch of the same size; the loss holds until the next."""
        self.batch.pixels.copy_(batch.pixels)
        self.batch.labels.copy_(batch.labels)
        self.batch.ids.copy_(batch.ids)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.loss


class Recorded:
    """One graph for every size of a batch; there are two at most."""

    def __init__(self, eager: Eager) -> None:
        self.eager = eager
        self.recordings: dict[int, Recording] = {}

    def __call__(self, batch: Batch) -> Tensor:
        """Forward and backward; the augmentation draws, and so is no part of the graph."""
        ready = batch.augmented()
        if len(batch) not in self.recordings:
            self.recordings[len(batch)] = self._record(ready)
        return self.recordings[len(batch)].play(ready)

    def _record(self, batch: Batch) -> Recording:
        own = replace(
            batch,
            pixels=batch.pixels.clone(),
            labels=batch.labels.clone(),
            ids=batch.ids.clone(),
        )
        self._warm_up(own)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            # A fresh copy, since the floats that a batch keeps must be made within the graph.
            loss = self.eager(replace(own))
        parameters = [p for group in self.eager.optimizer.param_groups for p in group["params"]]
        gradients = [(p, p.grad) for p in parameters if p.grad is not None]
        return Recording(graph, own, loss, gradients)

    def _warm_up(self, batch: Batch) -> None:
        """Let libraries choose their kernels, which they cannot while a graph is recorded."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), _buffers_kept(self.eager.model):
            for _ in range(_WARM_UPS):
                self.eager(replace(batch))
        torch.cuda.current_stream().wait_stream(stream)
        self.eager.optimizer.zero_grad(set_to_none=True)


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put batch statistics back, so that warming up leaves no trace."""
    before = [buffer.clone() for buffer in model.buffers()]
    yield
    for buffer, old in zip(model.buffers(), before, strict=True):
        buffer.copy_(old)


def _has_hooks(model: nn.Module) -> bool:
    """Whether Python wants to be called within the model; a graph would leave it out."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
