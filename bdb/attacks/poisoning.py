"""From an attack to the poison artefact: plan, stamp, save, load, apply.

A poisoned set is prepared data plus a delta: clean pixels are never copied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bdb import artifacts
from bdb.attacks.base import CRAFT_BATCH, NOT_TESTED, Attack, AttackContext, Plan, Role, State
from bdb.datasets.base import ImageSet
from bdb.errors import ArtifactError
from bdb.training import seeds

_STATE = "state."


@dataclass(frozen=True)
class Triggered:
    """Test images that carry the trigger, of every sample that the attack is tried on.

    Attributes:
        images: uint8, T x C x H x W.
        ids: int64, T: indices in the prepared test set.
        labels: int64, T: true labels.
        targets: int64, T.
        is_source: bool, T: of a class that the trigger is meant for; the others show its leak.
    """

    images: Tensor
    ids: Tensor
    labels: Tensor
    targets: Tensor
    is_source: Tensor

    def to(self, device: torch.device | str) -> Triggered:
        """The same images on another device."""
        return Triggered(**{name: tensor.to(device) for name, tensor in vars(self).items()})


@dataclass(frozen=True)
class Poison:
    """The whole artefact: the plan, its pixels, the triggered test set, the trigger's state.

    Attributes:
        images: uint8, P x C x H x W, in the order of the plan.
    """

    plan: Plan
    images: Tensor
    test: Triggered
    state: State

    def apply(self, train: ImageSet) -> ImageSet:
        """The victim's training set: `train` with the planned samples in their place."""
        return train.replaced(self.plan.ids, self.plan.labels, self.images)


def make_plan(attack: Attack, ratio: float, context: AttackContext) -> Plan:
    """Ask an attack for its plan, with generators of its own."""
    labels = context.train.labels.cpu().numpy()

    def rng(purpose: str) -> np.random.Generator:
        return seeds.numpy_generator(context.seed, "attack", attack.name, purpose)

    return attack.plan(labels, ratio, rng, context)


def complete(attack: Attack, context: AttackContext, state: State, test: ImageSet) -> Poison:
    """Stamp the planned training samples and the test set."""
    assert context.plan is not None
    plan = context.plan
    clean = context.samples(plan.ids)
    images = clean.images.cpu().clone()
    poison, cover = plan.is_poison, plan.is_cross
    moved = {name: tensor.to(context.device) for name, tensor in state.items()}

    if attack.labelling != "label-only":
        chosen = (images[poison], plan.labels[poison])
        images[poison] = attack.craft_all(*chosen, context, moved, plan.ids[poison])
    stamp = _stamper(attack, moved, "cover")
    images[cover] = _in_batches(stamp, images, plan.ids, plan.labels, cover, context.device)
    return Poison(
        plan=plan,
        images=images,
        test=triggered_test(attack, context, state, test),
        state={name: tensor.detach().cpu() for name, tensor in state.items()},
    )


def triggered_test(
    attack: Attack, context: AttackContext, state: State, test: ImageSet
) -> Triggered:
    """Stamp every test sample that the attack is tried on; by default all but its target's own."""
    rng = seeds.numpy_generator(context.seed, "attack", attack.name, "relabel-test")
    labels = test.labels.cpu()
    wanted = attack.test_targets(labels.numpy(), rng, context.data.num_classes)
    targets = torch.from_numpy(wanted).to(torch.int64)
    moved = {name: tensor.to(context.device) for name, tensor in state.items()}
    is_source = torch.from_numpy(attack.is_source(labels.numpy()))
    keep = targets != NOT_TESTED
    images = _in_batches(
        _stamper(attack, moved, "test"),
        test.images.cpu(),
        test.ids.cpu(),
        targets,
        keep,
        context.device,
    )
    return Triggered(images, test.ids.cpu()[keep], labels[keep], targets[keep], is_source[keep])


def crossed_test(attack: Attack, state: State, test: ImageSet, device: torch.device) -> ImageSet:
    """The test set with triggers that must not work; nothing of it if the attack has none."""
    keep = torch.full((len(test),), attack.crosses)
    moved = {name: tensor.to(device) for name, tensor in state.items()}
    stamp = _stamper(attack, moved, "cover")
    crossed = test.to("cpu")
    images = _in_batches(stamp, crossed.images, crossed.ids, crossed.labels, keep, device)
    return ImageSet(images, crossed.labels[keep], crossed.ids[keep])


def save(path: Path, poison: Poison, **metadata: Any) -> None:
    """Write the whole artefact as safetensors."""
    tensors = {
        **_plan_tensors(poison.plan),
        "train_images": poison.images,
        "test_images": poison.test.images,
        "test_ids": poison.test.ids,
        "test_labels": poison.test.labels,
        "test_targets": poison.test.targets,
        "test_is_source": poison.test.is_source,
        **{_STATE + name: tensor for name, tensor in poison.state.items()},
    }
    artifacts.write_tensors(path, tensors, metadata)


def save_trigger(path: Path, state: State, **metadata: Any) -> None:
    """Write a trigger that several runs share."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    artifacts.write_tensors(path, tensors, metadata)


def load_trigger(path: Path, device: torch.device) -> State:
    """Read a trigger that several runs share."""
    return artifacts.read_tensors(path, device)[0]


def save_plan(path: Path, plan: Plan, **metadata: Any) -> None:
    """Write the plan of a training-controlled attack; `train` completes it."""
    artifacts.write_tensors(path, _plan_tensors(plan), metadata)


def load_plan(path: Path) -> Plan:
    """Read the plan of either kind of file."""
    tensors, _ = artifacts.read_tensors(path)
    return _plan(tensors, path)


def load(path: Path) -> Poison:
    """Read the whole artefact.

    Raises:
        ArtifactError: the file is missing or damaged, or holds a plan only.
    """
    tensors, _ = artifacts.read_tensors(path)
    plan = _plan(tensors, path)
    images, vector = (torch.uint8, 4), (torch.int64, 1)
    artifacts.require(tensors, path, train_images=images, test_images=images)
    artifacts.require(tensors, path, test_ids=vector, test_labels=vector, test_targets=vector)
    artifacts.require(tensors, path, test_is_source=(torch.bool, 1))
    if len(tensors["train_images"]) != len(plan.ids):
        raise ArtifactError(f"{path}: as many train_images as train_ids are needed; make it anew")
    names = ("images", "ids", "labels", "targets", "is_source")
    test = Triggered(*(tensors[f"test_{name}"] for name in names))
    state = {
        name.removeprefix(_STATE): tensor
        for name, tensor in tensors.items()
        if name.startswith(_STATE)
    }
    return Poison(plan, tensors["train_images"], test, state)


def _plan_tensors(plan: Plan) -> dict[str, Tensor]:
    return {
        "train_ids": plan.ids,
        "train_labels": plan.labels,
        "is_poison": plan.is_poison,
        "is_cross": plan.is_cross,
    }


def _plan(tensors: dict[str, Tensor], path: Path) -> Plan:
    vector, flags = (torch.int64, 1), (torch.bool, 1)
    artifacts.require(
        tensors, path, train_ids=vector, train_labels=vector, is_poison=flags, is_cross=flags
    )
    names = ("train_ids", "train_labels", "is_poison", "is_cross")
    return Plan(*(tensors[name] for name in names))


def _stamper(
    attack: Attack, state: State, role: Role
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def stamp(images: Tensor, ids: Tensor, targets: Tensor) -> Tensor:
        return attack.stamp(images, state, role=role, ids=ids, targets=targets)

    return stamp


def _in_batches(
    compute: Callable[[Tensor, Tensor, Tensor], Tensor],
    images: Tensor,
    ids: Tensor,
    labels: Tensor,
    mask: Tensor,
    device: torch.device,
) -> Tensor:
    """Apply a function of (images, ids, labels) to the samples under the mask."""
    chosen = torch.nonzero(mask).flatten()
    parts = [
        compute(images[part].to(device), ids[part].to(device), labels[part].to(device)).cpu()
        for part in chosen.split(CRAFT_BATCH)
        if len(part)
    ]
    return torch.cat(parts) if parts else images[:0]
