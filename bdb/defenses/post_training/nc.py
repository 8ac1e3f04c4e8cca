"""Neural Cleanse: a backdoor's target is reached by an unusually small trigger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from bdb.console import track
from bdb.datasets.base import ImageSet
from bdb.defenses import outliers
from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.method import Paper
from bdb.registry import register
from bdb.training import device as devices
from bdb.training.loop import to_bytes, to_float
from bdb.training.recipes import Recipe

# Stamped images of 32 x 32 per step, fewer of larger ones; bounds memory where there are many
# classes.
_FORWARD = 2560


@dataclass
class Triggers:
    """One trigger for each of K classes.

    Attributes:
        mask: float32 in [0, 1], K x 1 x H x W.
        pattern: float32 in [0, 1], K x C x H x W.
    """

    mask: Tensor
    pattern: Tensor

    def stamp(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], B x C x H x W -> the same under every trigger, KB x C x H x W."""
        mask, pattern = self.mask[:, None], self.pattern[:, None]
        stamped = ((1 - mask) * images + mask * pattern).flatten(0, 1)
        return stamped.contiguous(memory_format=torch.channels_last)

    def where(self, chosen: Tensor, other: Triggers) -> Triggers:
        """These triggers for the chosen classes (bool, K), and the other's for the rest."""
        chosen = chosen[:, None, None, None]
        return Triggers(
            torch.where(chosen, self.mask, other.mask).detach(),
            torch.where(chosen, self.pattern, other.pattern).detach(),
        )

    def norms(self) -> Tensor:
        """The L1 norm of every mask: K."""
        return self.mask.flatten(1).sum(1)


@register("nc")
class NeuralCleanse(PostTraining):
    """Reverse a trigger for every class; unlearn those that are unusually small."""

    paper: ClassVar[Paper] = Paper(
        title="Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks",
        authors="Wang, Yao, Shan, Li, Viswanath, Zheng, Zhao",
        venue="IEEE S&P",
        year=2019,
        url="https://doi.org/10.1109/SP.2019.00031",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})
    judges: ClassVar[bool] = True
    evidence: ClassVar[tuple[str, ...]] = ("trigger", "mask", "norm", "anomaly_index")
    min_classes: ClassVar[int] = 3  # Of two, neither can stand out from the median of both.

    rounds: int = Field(80, ge=1, description="passes over the clean set to reverse a trigger")
    batch_size: int = Field(256, ge=1, description="clean images per step of the reversal")
    lr: float = Field(0.1, gt=0, description="learning rate of the reversal")
    cost: float = Field(1e-3, gt=0, description="weight of the mask's norm at first")
    patience: int = Field(5, ge=1, description="rounds before the weight changes")
    success: float = Field(0.98, gt=0, le=1, description="share that a trigger must turn")
    threshold: float = Field(2.0, gt=0, description="anomaly index above which a class is flagged")
    share: float = Field(0.2, gt=0, lt=1, description="share of the clean set that is stamped")
    unlearning_epochs: int = Field(100, ge=1, description="passes to unlearn the triggers")
    unlearning_batch_size: int = Field(256, ge=2, description="samples per step of unlearning")
    unlearning_lr: float = Field(0.01, gt=0, description="learning rate, annealed along a cosine")

    def run(self, view: DefenderView) -> Outcome:
        """Judge the model; unlearn what is flagged, else give it back unchanged."""
        triggers = self.reverse(view)
        norms = triggers.norms()
        index = anomaly(norms)
        targets = torch.nonzero(index > self.threshold).flatten()
        verdict = {
            "backdoored": len(targets) > 0,
            "targets": targets.tolist(),
            "suspect": int(index.argmax()),
            "score": float(index.max()),
        }
        if len(targets) and view.wants_model:
            found = Triggers(triggers.mask[targets], triggers.pattern[targets])
            self.unlearn(view, found)
        evidence = {
            "trigger": triggers.mask * triggers.pattern,  # as the paper shows it
            "mask": triggers.mask,
            "norm": norms,
            "anomaly_index": index,
        }
        model = view.model if view.wants_model else None
        return Outcome(model=model, verdict=verdict, evidence=evidence)

    def reverse(self, view: DefenderView) -> Triggers:
        """The smallest trigger found for every class."""
        classes = torch.arange(view.data.num_classes, device=view.device)
        groups = classes.split(max(1, view.data.as_many(_FORWARD) // self.batch_size))
        found = [self._search(view, targets) for targets in groups]
        return Triggers(
            torch.cat([each.mask for each in found]), torch.cat([each.pattern for each in found])
        )

    def unlearn(self, view: DefenderView, triggers: Triggers) -> None:
        """Fine-tune on clean images, a share of them stamped, all under their true labels."""
        plain, held = (part.to(view.device) for part in view.split_clean(self.share))
        copies = len(triggers.mask)
        data = ImageSet(
            torch.cat([plain.images, to_bytes(triggers.stamp(to_float(held.images)))]),
            torch.cat([plain.labels, held.labels.repeat(copies)]),
            torch.cat([plain.ids, held.ids.repeat(copies)]),
        )
        recipe = Recipe(
            epochs=self.unlearning_epochs,
            batch_size=self.unlearning_batch_size,
            lr=self.unlearning_lr,
        )
        view.fit(view.model, data, recipe, what="unlearn")

    def _search(self, view: DefenderView, targets: Tensor) -> Triggers:
        """Search for the triggers of some classes side by side; none of them sees another.

        The mask's weight doubles after some rounds of success in a row, and falls by 2^1.5 after as
        many of failure. A class whose trigger never succeeds keeps the last one tried.
        """
        raw = _start(view, targets)
        adam = torch.optim.Adam(raw, self.lr, betas=(0.5, 0.9))
        best, least = decode(raw), torch.full((len(targets),), torch.inf, device=view.device)
        cost, streak = torch.full_like(least, self.cost), torch.zeros_like(least)
        for number in track(range(self.rounds), "reverse"):
            works = self._round(view, raw, adam, targets, cost, number) >= self.success
            now = decode(raw)
            norms = now.norms()
            best = now.where(least.isinf() | (works & (norms < least)), best)
            least = torch.where(works, torch.minimum(least, norms), least)
            streak = torch.where(works, streak.clamp_min(0) + 1, streak.clamp_max(0) - 1)
            cost = torch.where(streak >= self.patience, cost * 2, cost)
            cost = torch.where(streak <= -self.patience, cost / 2**1.5, cost)
            streak[streak.abs() >= self.patience] = 0
        return best

    def _round(
        self,
        view: DefenderView,
        raw: list[Tensor],
        adam: torch.optim.Optimizer,
        targets: Tensor,
        cost: Tensor,
        number: int,
    ) -> Tensor:
        """One pass over the clean set; the share of images that each trigger turned: K."""
        images = view.clean_set.images.to(view.device)
        order = torch.randperm(len(images), generator=view.generator("reverse", number))
        hits = torch.zeros(len(targets), device=view.device)
        for part in order.to(view.device).split(self.batch_size):
            triggers = decode(raw)
            with devices.autocast(view.device):
                logits = view.model(triggers.stamp(to_float(images[part]))).float()
            wanted = targets.repeat_interleave(len(part))
            loss = cross_entropy(logits, wanted, reduction="sum") / len(part)
            loss = loss + (cost * triggers.norms()).sum()
            adam.zero_grad()
            loss.backward(inputs=raw)
            adam.step()
            hits += (logits.argmax(1) == wanted).view(len(targets), -1).sum(1)
        return hits / len(images)


def anomaly(norms: Tensor) -> Tensor:
    """How far each norm lies below the median, in consistent median absolute deviations: K."""
    return outliers.deviations(-norms)


def decode(raw: list[Tensor]) -> Triggers:
    """Unbounded mask and pattern -> values in [0, 1]."""
    mask, pattern = (each.tanh() / 2 + 0.5 for each in raw)
    return Triggers(mask, pattern)


def _start(view: DefenderView, targets: Tensor) -> list[Tensor]:
    """Random unbounded masks and patterns, the same for a class in whatever group it is."""
    channels, height, width = view.data.shape
    raw = []
    for name, depth in (("mask", 1), ("pattern", channels)):
        draws = [
            torch.randn((depth, height, width), generator=view.generator(name, int(target)))
            for target in targets
        ]
        raw.append(torch.stack(draws).to(view.device).requires_grad_())
    return raw
