"""What a model's loss asks its weights for: the gradients that attackers select by, and match."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from bdb.datasets.base import ImageSet
from bdb.models.base import Classifier
from bdb.training import inference, seeds
from bdb.training.loop import to_float

_BATCH = 512
_TINY = 1e-12

Gradient = tuple[Tensor, ...]
Augment = Callable[[Tensor, torch.Generator], Tensor]


def norms(model: Classifier, data: ImageSet) -> Tensor:
    """How long the last layer's gradient of each sample's own cross-entropy is.

    It has a closed form: the error of the probabilities times the features that go in.

    Args:
        model: with features, in evaluation mode.
        data: images and the labels that the loss is of.

    Returns:
        float32, N, on the CPU.
    """
    error = inference.logits(model, data.images).softmax(1)
    error -= one_hot(data.labels.cpu(), error.shape[1])
    inputs = inference.features(model, data.images).square().sum(1) + 1  # 1 goes into the bias
    return error.norm(dim=1) * inputs.sqrt()


def mean(model: nn.Module, data: ImageSet) -> Gradient:
    """The gradient of the mean cross-entropy of many samples, a batch at a time."""
    weights = list(_weights(model).values())
    total = [torch.zeros_like(weight) for weight in weights]
    for part in torch.arange(len(data), device=data.labels.device).split(_BATCH):
        logits = model(to_float(data.images[part]))
        loss = cross_entropy(logits, data.labels[part], reduction="sum") / len(data)
        for each, slope in zip(total, torch.autograd.grad(loss, weights), strict=True):
            each += slope
    return tuple(total)


def distance(model: nn.Module, images: Tensor, labels: Tensor, goal: Gradient) -> Tensor:
    """1 - cosine of the goal and the gradient of floats in [0, 1]; it can be differentiated."""
    weights = list(_weights(model).values())
    loss = cross_entropy(model(images), labels)
    own = torch.autograd.grad(loss, weights, create_graph=True)
    pairs = list(zip(own, goal, strict=True))
    dot = torch.stack([(slope * wanted).sum() for slope, wanted in pairs]).sum()
    lengths = [torch.stack([t.square().sum() for t in side]).sum() for side in (own, goal)]
    return 1 - dot / (lengths[0] * lengths[1]).clamp_min(_TINY).sqrt()


class Matching:
    """A search for small changes of images after which their gradient is that of others.

    Signed Adam on the changes of all images, within a radius and the range of pixels.

    Args:
        poisons: uint8 images and the labels that their loss is of, on the model's device.
        eps: radius, in grey levels.
        lr: of Adam, in radii; a tenth of it after 3, 5 and 7 eighths of the steps.
        steps: how many there will be.
        seed: of where each image's search begins.
    """

    def __init__(self, poisons: ImageSet, eps: int, lr: float, steps: int, seed: int) -> None:
        self.poisons, self.eps = poisons, eps
        pixels = poisons.images.float()
        self.low, self.high = ((end - pixels).div(eps).clamp(-1, 1) for end in (0, 255))
        draws = seeds.uniform_by_id(poisons.ids, pixels[0].numel(), seed)
        self.change = torch.special.ndtri(draws).view_as(pixels)
        self._project()
        self.optimizer = torch.optim.Adam([self.change], lr)
        eighths = [steps * eighth // 8 for eighth in (3, 5, 7)]
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, eighths)

    def step(
        self,
        model: nn.Module,
        goal: Gradient,
        batch_size: int,
        augment: Augment,
        draws: torch.Generator,
    ) -> None:
        """Move every change once: the common gradient of each batch towards the goal."""
        clean, slope = to_float(self.poisons.images), torch.empty_like(self.change)
        for part in torch.arange(len(clean), device=clean.device).split(batch_size):
            change = self.change[part].requires_grad_()
            moved = augment(clean[part] + self.eps / 255 * change, draws)
            loss = distance(model, moved, self.poisons.labels[part], goal)
            (slope[part],) = torch.autograd.grad(loss, change)
        self.change.grad = slope.sign_()
        self.optimizer.step()
        self.scheduler.step()
        self._project()

    def found(self) -> ImageSet:
        """The images as changed so far."""
        levels = self.poisons.images.float() + self.eps * self.change
        return replace(self.poisons, images=levels.round().to(torch.uint8))

    def _project(self) -> None:
        self.change.clamp_(self.low, self.high)


def _weights(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
