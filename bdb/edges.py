"""Small odd victims that every method must survive; `bdb.testing` has the ordinary one.

from bdb.edges import ATTACK_EDGES, EDGES, check_attack_edge, check_defense_edge
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, one_hot

from bdb import registry
from bdb.attacks.base import NOT_TESTED, Attack, AttackContext
from bdb.datasets.base import DataSpec, ImageSet
from bdb.defenses.base import Defense
from bdb.errors import BdbError
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import CPU, Lab, check_plan, digits, make_lab, narrow, run_checked
from bdb.training import seeds
from bdb.training.recipes import Recipe

_SIZES = {"train": 100, "clean": 40, "test": 40}  # so few that abl isolates a single sample


def _same(images: Tensor) -> Tensor:
    return images


def _own(labels: Tensor) -> Tensor:
    return labels


def _everything(labels: Tensor) -> Tensor:
    return torch.arange(len(labels))


@dataclass(frozen=True)
class Edge:
    """How data and model depart from the ordinary ones.

    Attributes:
        view: what becomes of the images: uint8, N x 3 x 32 x 32 -> N x C x H x W.
        classes: how many there are.
        classify: what becomes of the labels.
        width: of the victim.
        absent: a class without training images.
        clean: which of the clean images are left, by their labels.
        rank: how many features differ from 0; all by default.
    """

    view: Callable[[Tensor], Tensor] = _same
    classes: int = 10
    classify: Callable[[Tensor], Tensor] = _own
    width: int = 16
    absent: int | None = None
    clean: Callable[[Tensor], Tensor] = _everything
    rank: int | None = None


def _shrink(images: Tensor) -> Tensor:
    return avg_pool2d(images.float(), 4).round().to(torch.uint8)


def _enlarge(images: Tensor) -> Tensor:
    return images.repeat_interleave(2, 2).repeat_interleave(2, 3)


def _into_43(labels: Tensor) -> Tensor:
    """Zeros and ones stay, as many as attackers want; others are dealt to 41 classes in turn."""
    counts = one_hot(labels, 10).cumsum(0)
    turn = counts.gather(1, labels[:, None])[:, 0] - 1
    return torch.where(labels < 2, labels, 2 + (labels - 2 + 8 * turn) % 41)


def _first(labels: Tensor) -> Tensor:
    return torch.arange(len(labels))[:1]


def _first_of_each_class(labels: Tensor) -> Tensor:
    return torch.stack([(labels == label).nonzero()[0, 0] for label in labels.unique()])


EDGES: dict[str, Edge] = {
    "one channel": Edge(view=lambda images: images[:, :1]),
    "not square": Edge(view=lambda images: images[:, :, 4:28]),
    "8 pixels wide": Edge(view=_shrink),
    "64 pixels and 43 classes": Edge(view=_enlarge, classes=43, classify=_into_43, width=4),
    "two classes": Edge(classes=2),
    "a class absent": Edge(absent=3),
    "one clean image": Edge(clean=_first),
    "one clean image per class": Edge(clean=_first_of_each_class),
    "features all alike": Edge(rank=0),
    "features of rank 1": Edge(rank=1),
}


def edge_context(name: str) -> tuple[AttackContext, ImageSet, ImageSet]:
    """An attack's context on a small part of digits, the clean set, and the test set."""
    edge, raw = EDGES[name], digits()
    chosen = raw.train.labels < edge.classes
    pool = raw.train[chosen]
    train, clean = pool[torch.arange(_SIZES["train"])], pool[-_SIZES["clean"] + torch.arange(40)]
    train = train[train.labels != edge.absent] if edge.absent is not None else train
    test = raw.test[raw.test.labels < edge.classes][torch.arange(_SIZES["test"])]
    train, clean, test = (
        replace(part, images=edge.view(part.images).contiguous(), labels=edge.classify(part.labels))
        for part in (train, clean, test)
    )
    channels = train.images.shape[1]
    data = DataSpec(
        dataset="digits",
        classes=tuple(map(str, range(edge.classes))),
        shape=tuple(train.images.shape[1:]),
        mean=(0.3,) * channels,
        std=(0.35,) * channels,
    )
    context = AttackContext(
        data=data,
        train=train,
        recipe=Recipe(epochs=2, batch_size=32, lr=0.05),
        seed=0,
        device=CPU,
        spec=ModelSpec(architecture="convnet", data=data, fields={"width": edge.width}),
        load_clean_model=lambda: edge_lab(name, "none", 0.0).model,
        load_surrogate=lambda _: edge_lab(name, "none", 0.0).model,
    )
    return context, clean[edge.clean(clean.labels)], test


@cache
def edge_lab(name: str, attack: str = "badnets", ratio: float = 0.1) -> Lab:
    """A victim at one of `EDGES`, trained for a moment, once per process."""
    made = registry.get("attack", attack).make()
    assert isinstance(made, Attack)
    context, clean, test = edge_context(name)
    victim = make_lab(made, ratio, context, clean, test)
    rank = EDGES[name].rank
    return victim if rank is None else replace(victim, model=_of_rank(victim.model, rank))


@torch.no_grad()
def _of_rank(model: Classifier, rank: int) -> Classifier:
    """A copy whose last layer leaves all but so many features at 0."""
    model = models.duplicate(model)
    layer = model.get_submodule(model.attention_layers[-1])
    for name, parameter in layer.named_parameters():
        parameter[rank:] = 0
        if name.endswith("bias"):
            parameter[:rank] += 1  # so that no activation silences what is left
    return model


# What concerns a defender alone is no edge of an attack's.
ATTACK_EDGES = (
    "one channel",
    "not square",
    "8 pixels wide",
    "64 pixels and 43 classes",
    "two classes",
    "a class absent",
)


def check_attack_edge(cls: type[Attack], name: str, ratio: float = 0.05, **fields: Any) -> None:
    """Check that an attack gives a right result at one of `ATTACK_EDGES`, or says why not.

    Raises:
        AssertionError: it does neither.
        Exception: whatever else it raises.
    """
    attack = cls(**(narrow(cls) | fields))
    context, clean, test = edge_context(name)
    try:
        victim = make_lab(attack, ratio, context, clean, test)
    except BdbError as error:
        _check_message(str(error), {*cls.model_fields})
        return
    plan, triggered = victim.poison.plan, victim.poison.test
    originals = test.of(triggered.ids)
    assert victim.poison.images.shape == (len(plan.ids), *context.data.shape), "one per sample"
    assert torch.equal(triggered.labels, originals.labels), "true labels"
    assert bool((triggered.labels != triggered.targets).all()), "no image of its own target"
    rng = seeds.numpy_generator(0, "check")
    wanted = attack.test_targets(test.labels.numpy(), rng, context.data.num_classes)
    assert len(triggered.ids) == int((wanted != NOT_TESTED).sum()), "all that can be tried"
    assert triggered.images.shape == originals.images.shape, "the trigger keeps the shape"
    changed = (triggered.images != originals.images).flatten(1).any(1).float().mean()
    assert bool(changed > 0.9) == attack.poisons, "the trigger shows"
    check_plan(attack, ratio, context, plan)


def check_defense_edge(cls: type[Defense], name: str, **fields: Any) -> None:
    """Check that a defense gives a right result at one of `EDGES`, or says in a line why not.

    Raises:
        AssertionError: it does neither.
        Exception: whatever else it raises.
    """
    try:
        run_checked(cls(**(narrow(cls) | fields)), edge_lab(name))
    except BdbError as error:
        _check_message(str(error), {*cls.model_fields, "clean_set"})


def _check_message(said: str, known: Collection[str]) -> None:
    """See that a message is one line that begins with what the user can change."""
    place = re.fullmatch(r"(?:\w+\.)*(\w+(?: \+ \w+)*): .+", said)
    named = set(place[1].split(" + ")) if place else {said}
    assert named <= set(known), f"one line that names a field: {said}"
