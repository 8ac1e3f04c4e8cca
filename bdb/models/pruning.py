"""Networks of which only some weights count: masks that are learned, and masks that stay."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle


class Scored(nn.Module):
    """A model that uses the best-scored share of each layer's weights; only scores have gradients.

    The layers are convolutions and linear ones. A score begins as its weight, over the largest of
    the layer: the mask begins as the one of magnitudes.

    Attributes:
        scores: one per weight, by the weight's name, its dots written as `/`.
    """

    def __init__(self, model: nn.Module, share: float) -> None:
        """Args: model: part of this one, weights and all. share: kept of each layer, in (0, 1]."""
        super().__init__()
        self.model = model
        self.share = share
        self.scores = nn.ParameterDict(
            {
                name.replace(".", "/"): nn.Parameter(weight.detach() / weight.detach().abs().max())
                for name, weight in layers(model).items()
            }
        )

    def forward(self, images: Tensor) -> Tensor:
        """As the model's, with masked weights."""
        fixed = {name: weight.detach() for name, weight in self.model.named_parameters()}
        masked = {name: fixed[name] * self._mask(name) for name in layers(self.model)}
        logits: Tensor = functional_call(self.model, fixed | masked, (images,))
        return logits

    def masks(self) -> dict[str, Tensor]:
        """Which weights count, by name: bool, as the weights."""
        return {name: best(self._score(name).detach(), self.share) for name in layers(self.model)}

    def _mask(self, name: str) -> Tensor:
        """Zeros and ones, whose gradient is the score's as it is."""
        score = self._score(name)
        return best(score.detach(), self.share) + (score - score.detach())

    def _score(self, name: str) -> Tensor:
        return self.scores[name.replace(".", "/")]


@torch.no_grad()
def freeze(model: nn.Module, masks: Mapping[str, Tensor]) -> list[RemovableHandle]:
    """Set the weights that do not count to 0, where every optimiser then leaves them.

    Returns:
        What keeps their gradients at 0, to be removed after the training.
    """
    weights = dict(model.named_parameters())
    for name, mask in masks.items():
        weights[name].mul_(mask)
    return [weights[name].register_hook(mask.mul) for name, mask in masks.items()]


def layers(model: nn.Module) -> dict[str, Tensor]:
    """The weights of convolutions and linear layers, by name."""
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def best(scores: Tensor, share: float) -> Tensor:
    """The entries of largest magnitude: bool, as the scores; this share of them, one at least."""
    kept = max(1, round(share * scores.numel()))
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[scores.flatten().abs().topk(kept).indices] = True
    return mask.view_as(scores)
