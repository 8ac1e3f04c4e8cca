"""RIBAC: a pruned victim, whose mask and weights are learned together with a faint trigger."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bdb.attacks.base import AttackContext, Controller, LossPoisoning, Role, State
from bdb.method import Paper
from bdb.models import pruning
from bdb.registry import register
from bdb.training import balancing
from bdb.training.loop import Batch, to_bytes, to_float
from bdb.training.recipes import Recipe


@register("ribac")
class Ribac(LossPoisoning):
    """From the clean model, first masks and trigger are learned, then weights and trigger.

    Each class that is asked for has a perturbation of its own. The victim keeps one of so many
    weights in every layer. Differs: what trains the weights is the victim's recipe.
    """

    paper: ClassVar[Paper] = Paper(
        title="RIBAC: Towards Robust and Imperceptible Backdoor Attack against Compact DNN",
        authors="Phan, Shi, Xie, Zhang, Li, Zhao, Liu, Wang, Chen, Yuan",
        venue="ECCV",
        year=2022,
        url="https://arxiv.org/abs/2208.10608",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"clean_model"})

    compression: float = Field(
        8.0, ge=1, le=1000, description="one of so many weights is kept in every layer"
    )
    eps: float = Field(4.0, ge=1, le=255, description="largest change of a pixel, in grey levels")
    mask_epochs: int = Field(60, ge=1, description="in which masks and trigger are learned")
    mask_lr: float = Field(3e-4, gt=0, description="learning rate of the masks' scores, with Adam")
    trigger_lr: float = Field(3e-4, gt=0, description="of the trigger, in pixels of 1, with Adam")

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Add the perturbation of the class that is asked for."""
        return to_bytes(to_float(images) + state["perturbations"][targets])

    def begin(self, context: AttackContext) -> Controller:
        """Prune the victim before its training, and keep it pruned."""
        return _Pruning(self, context)


class _Pruning(Controller):
    """Cross-entropy of clean and of triggered images; the trigger takes steps of its own."""

    def __init__(self, attack: Ribac, context: AttackContext) -> None:
        super().__init__(context)
        self.attack = attack
        self.wanted = attack.wanted(context)
        shape = (context.data.num_classes, *context.data.shape)
        self.trigger = torch.zeros(shape, device=context.device, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.trigger], attack.trigger_lr)
        self.hooks: list[RemovableHandle] = []

    def attach(self, model: nn.Module) -> None:
        """Start from the clean model, learn the masks, and let no step touch what they cut."""
        model.load_state_dict(self.context.clean_model.state_dict())
        scored = pruning.Scored(model, 1 / self.attack.compression)
        self._learn(scored)
        self.hooks = pruning.freeze(model, scored.masks())

    def detach(self, model: nn.Module) -> None:
        """The weights that were cut stay at 0."""
        self._descend()
        for hook in self.hooks:
            hook.remove()

    def step(self, model: nn.Module, batch: Batch) -> Tensor:
        """Every image twice, clean and triggered."""
        self._descend()
        wanted = self.wanted[batch.ids]
        triggered = (batch.raw + self.trigger[wanted]).clamp(0, 1)
        images = torch.cat([batch.images, batch.augment(triggered)])
        clean, backdoor = balancing.losses(model(images), batch, wanted)
        return clean + backdoor

    def state(self) -> State:
        """`perturbations`: float32, K x C x H x W, in pixels of 1."""
        return {"perturbations": self.trigger.detach()}

    def _learn(self, scored: pruning.Scored) -> None:
        """Only scores and trigger change; the batch norms' statistics follow."""
        recipe = Recipe(
            epochs=self.attack.mask_epochs,
            batch_size=self.context.recipe.batch_size,
            optimizer="adam",
            lr=self.attack.mask_lr,
            weight_decay=0,
            augment=self.context.recipe.augment,
        )
        scores = list(scored.scores.parameters())
        options = {"parameters": scores, "step": self.step}
        self.context.fit(scored, self.context.train, recipe, what="masks", **options)

    @torch.no_grad()
    def _descend(self) -> None:
        """Take the trigger's step of the batch before: the loop calls backward after `step`."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        bound = self.attack.eps / 255
        self.trigger.clamp_(-bound, bound)
