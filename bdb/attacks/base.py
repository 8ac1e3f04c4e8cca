"""What every attack is: fields, capabilities, and hooks that each have a default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.datasets.base import DataSpec, ImageSet
from bdb.errors import ParamsError
from bdb.method import Method
from bdb.models.base import Classifier
from bdb.training import seeds
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

Role = Literal["poison", "cover", "test"]
State = dict[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """Which samples an attack touches, and the labels it gives them.

    Attributes:
        ids: int64, P: indices in the prepared training set, ascending.
        labels: int64, P: as given to the victim.
        is_poison: bool, P: carries the trigger and the target.
        is_cross: bool, P: carries a trigger or noise, but its true label; not poison.
    """

    ids: Tensor
    labels: Tensor
    is_poison: Tensor
    is_cross: Tensor


@dataclass(frozen=True)
class AttackContext:
    """What an attacker has to work with.

    Attributes:
        train: the victim's training set, clean, with true labels.
        load_clean_model: gives the run's clean model; only for attacks that need it.
        recipe: the victim's.
        plan: what `select`, `cover` and `relabel` chose; None while they are choosing.
    """

    data: DataSpec
    train: ImageSet
    recipe: Recipe
    seed: int
    device: torch.device
    load_clean_model: Callable[[], Classifier]
    plan: Plan | None = None

    @cached_property
    def clean_model(self) -> Classifier:
        """The clean-model control of the run, in evaluation mode, on the device."""
        return self.load_clean_model().to(self.device)

    def generator(self, *names: object) -> torch.Generator:
        """A generator of this run's attack, for the purpose that the names tell."""
        return seeds.generator(self.seed, "attack", *names)

    def samples(self, ids: Tensor) -> ImageSet:
        """The clean samples with these ids."""
        return self.train.of(ids)


class Controller:
    """What a training-controlled attack puts in the place of cross-entropy.

    It sees un-augmented batches (`batch.raw`), augments when it likes (`batch.augment`), and
    finds out what the plan says of a sample through `role_of`.
    """

    def __init__(self, context: AttackContext) -> None:
        if context.plan is None:
            raise ValueError("a controller needs the plan")
        size = int(context.train.ids.max()) + 1
        self.context = context
        self._poison = _mask(context.plan.ids[context.plan.is_poison], size, context.device)
        self._cross = _mask(context.plan.ids[context.plan.is_cross], size, context.device)

    def poisoned(self, batch: Batch) -> Tensor:
        """Which samples of the batch are poison: bool, B."""
        return self._poison[batch.ids]

    def crossed(self, batch: Batch) -> Tensor:
        """Which samples of the batch are cross or noise samples: bool, B."""
        return self._cross[batch.ids]

    def step(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch."""
        raise NotImplementedError

    def epoch_end(self, epoch: int, model: nn.Module) -> bool | None:
        """Called after every epoch."""
        return None

    def state(self) -> State:
        """What `stamp` needs from now on: tensors on any device."""
        raise NotImplementedError


class Attack(Method):
    """An attack; BadNets is its fields and a three-line `stamp`.

    Class variables:
        controls_training: the attacker trains the victim; `begin` gives the controller.
        label_mode: `dirty` relabels, `clean` poisons only the target class, `label-only` leaves
            every pixel alone.
        needs: `clean_model`, trained before the attack begins.
        poisons: False only for the clean-model control.
        gives_train_set: whether there is a poisoned training set to hand to a defender.
    """

    kind: ClassVar[str] = "attack"
    controls_training: ClassVar[bool] = False
    label_mode: ClassVar[Literal["dirty", "clean", "label-only"]] = "dirty"
    needs: ClassVar[frozenset[str]] = frozenset()
    poisons: ClassVar[bool] = True
    gives_train_set: ClassVar[bool] = True

    target: int = Field(0, ge=0, description="class that the trigger asks for")
    target_rule: Literal["all-to-one", "all-to-all", "multi-target"] = Field(
        "all-to-one", description="how a sample's target follows from its true label"
    )
    targets: tuple[int, ...] = Field(
        (), description="multi-target: classes that the true labels are dealt to in turn"
    )
    source_classes: tuple[int, ...] = Field(
        (), description="true labels that may be poisoned; all if empty"
    )
    cover_ratio: float = Field(
        0.0, ge=0, le=1, description="share of the training set stamped under its true label"
    )

    def select(
        self,
        labels: np.ndarray,
        ratio: float,
        rng: np.random.Generator,
        context: AttackContext,
    ) -> np.ndarray:
        """Positions of the samples to poison: `ratio` of the whole training set.

        Raises:
            ParamsError: fewer samples may be poisoned than the ratio asks for.
        """
        eligible = np.flatnonzero(self.eligible(labels))
        count = round(ratio * len(labels))
        if count > len(eligible):
            raise ParamsError(
                f"{self.name}: poison ratio {ratio:g} asks for {count} samples, but only "
                f"{len(eligible)} may be poisoned; at most {len(eligible) / len(labels):.4g}"
            )
        return np.sort(rng.choice(eligible, count, replace=False))

    def eligible(self, labels: np.ndarray) -> np.ndarray:
        """Which samples may be poisoned: the target class alone if the labels stay clean."""
        if self.label_mode == "clean":
            return labels == self.target
        if self.source_classes:
            return np.isin(labels, self.source_classes)
        return np.ones(len(labels), dtype=bool)

    def cover(self, labels: np.ndarray, rng: np.random.Generator, taken: np.ndarray) -> np.ndarray:
        """Positions of the samples stamped with their true label, disjoint from the poisoned."""
        free = np.setdiff1d(np.flatnonzero(labels != self.target), taken)
        count = round(self.cover_ratio * len(labels))
        return np.sort(rng.choice(free, min(count, len(free)), replace=False))

    def relabel(self, labels: np.ndarray, rng: np.random.Generator, num_classes: int) -> np.ndarray:
        """One target per sample, from its true label.

        Raises:
            ParamsError: a target is not a class, or multi-target names fewer than two.
        """
        if self.target_rule == "all-to-all":
            return (labels + 1) % num_classes
        if self.target_rule == "multi-target" and len(self.targets) < 2:
            raise ParamsError(
                f"{self.name}: targets is {list(self.targets)}; multi-target needs at least two"
            )
        wanted = self.targets if self.target_rule == "multi-target" else (self.target,)
        if not all(0 <= target < num_classes for target in wanted):
            raise ParamsError(
                f"{self.name}: target {max(wanted)} is not a class; 0 to {num_classes - 1}"
            )
        return np.asarray(wanted)[labels % len(wanted)]

    def prepare_trigger(self, context: AttackContext) -> State:
        """What `stamp` needs: patterns, perturbations, encoders; tensors on any device."""
        return {}

    def craft(
        self, images: Tensor, labels: Tensor, context: AttackContext, state: State, ids: Tensor
    ) -> Tensor:
        """Poisons that are optimised per sample; by default they are stamped.

        Args:
            images: uint8, N x C x H x W, clean.
            labels: int64, N, as given to the victim.
            context: with the plan.
            state: of the trigger.
            ids: int64, N.

        Returns:
            uint8, N x C x H x W.
        """
        return self.stamp(images, state, role="poison", ids=ids, targets=labels)

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Put the trigger on images: batched, on their device.

        Args:
            images: uint8, N x C x H x W.
            state: from `prepare_trigger`, or from the controller; on the images' device.
            role: what the images are for.
            ids: int64, N; random draws depend on them, never on the batch order.
            targets: int64, N: what each image should be taken for.

        Returns:
            uint8, N x C x H x W, clamped before the cast.
        """
        raise NotImplementedError

    def begin(self, context: AttackContext) -> Controller:
        """Start to control the training of a victim."""
        raise NotImplementedError


class CrossTrained(Attack):
    """An attack that trains the victim itself, and shows it triggers that must not work.

    Its covers are cross or noise samples of any class, in proportion to the poisons.
    """

    controls_training: ClassVar[bool] = True

    cross_ratio: float = Field(1.0, ge=0, le=100, description="cross samples per poison")
    cover_ratio: float = Field(0.0, ge=0, le=0, description="not used: see cross_ratio")

    def cover(self, labels: np.ndarray, rng: np.random.Generator, taken: np.ndarray) -> np.ndarray:
        """Positions of the cross samples, of any class."""
        free = np.setdiff1d(np.arange(len(labels)), taken)
        count = round(self.cross_ratio * len(taken))
        return np.sort(rng.choice(free, min(count, len(free)), replace=False))


def _mask(ids: Tensor, size: int, device: torch.device) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool, device=device)
    mask[ids.to(device)] = True
    return mask
