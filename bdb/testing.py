"""For tests, here and in other packages: small real victims, and the contracts every method keeps.

from bdb.testing import check_attack, check_defense
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from bdb import registry
from bdb.attacks import victims
from bdb.attacks.base import Attack, AttackContext
from bdb.attacks.poisoning import Poison
from bdb.datasets import split
from bdb.datasets.base import DataSpec, ImageSet, RawData
from bdb.defenses.base import DefenderView, Defense, Evidence, Outcome
from bdb.models.base import Classifier, ModelSpec
from bdb.training import inference, recipes, seeds
from bdb.training.recipes import Recipe

CPU = torch.device("cpu")


@cache
def digits() -> RawData:
    """The embedded data set."""
    from bdb.datasets.digits import Digits

    return Digits().read(None)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Lab:
    """One small real victim on digits, and all that belongs to it.

    Attributes:
        train_set: the victim's training set as delivered.
        clean_set: the defender's clean images, which the victim was not trained on.
        test: the clean test set.
    """

    attack: Attack
    spec: ModelSpec
    recipe: Recipe
    seed: int
    model: Classifier
    poison: Poison
    train_set: ImageSet
    clean_set: ImageSet
    test: ImageSet

    def rates(self, model: Classifier) -> tuple[float, float]:
        """Clean accuracy and attack success rate of a model."""
        triggered = self.poison.test
        clean = inference.accuracy(model, self.test.images, self.test.labels)
        return clean, inference.accuracy(model, triggered.images, triggered.targets)

    def inputs(self) -> tuple[Tensor, Tensor]:
        """Clean and triggered test images in one shuffled batch, and which are triggered."""
        images = torch.cat([self.test.images, self.poison.test.images])
        truth = torch.arange(len(images)) >= len(self.test)
        order = torch.randperm(len(images), generator=seeds.generator(self.seed, "inputs"))
        return images[order], truth[order]

    def is_poison(self) -> Tensor:
        """Which samples of `train_set` are poison: bool, N."""
        plan = self.poison.plan
        return torch.isin(self.train_set.ids, plan.ids[plan.is_poison])

    def view(self, defense: Defense) -> DefenderView:
        """What the defense may see of this victim."""
        evidence: dict[str, Any] = {
            "model": self.model,
            "train_set": self.train_set,
            "clean_set": self.clean_set,
            "inputs": self.inputs()[0],
        }
        return DefenderView(
            Evidence(**{need: evidence[need] for need in defense.needs}),
            defense.needs,
            spec=self.spec,
            recipe=self.recipe,
            seed=seeds.derive(self.seed, "defend", defense.name),
            device=CPU,
        )

    def defend(self, name: str, **fields: Any) -> Outcome:
        """Run a registered defense."""
        defense = cast(Defense, registry.get("defense", name).make(**fields))
        return defense.run(self.view(defense))


def make_context(
    seed: int = 0, size: int | None = None, recipe: Recipe | None = None
) -> tuple[AttackContext, ImageSet, ModelSpec]:
    """An attack's context on digits without a plan, the clean set, and the victim's spec.

    Args:
        seed: of the run.
        size: how many training images to keep; all of them by default.
        recipe: the data set's fast one by default.
    """
    from bdb.datasets.digits import Digits

    raw = digits()
    data = DataSpec(
        dataset="digits",
        classes=raw.classes,
        shape=(3, 32, 32),
        mean=(0.3,) * 3,
        std=(0.35,) * 3,
        augmentation=Digits().augmentation,
    )
    rng = seeds.numpy_generator(seed, "clean_set")
    mask = torch.from_numpy(split.clean_mask(raw.train.labels.numpy(), 0.2, rng))
    train, clean = raw.train[~mask], raw.train[mask]
    if size is not None:
        train = train[torch.arange(size)]
    spec = ModelSpec(architecture="convnet", data=data)
    recipe = recipe or recipes.resolve("fast", {}, Digits.recipes)
    context = AttackContext(
        data=data,
        train=train,
        recipe=recipe,
        seed=seed,
        device=CPU,
        load_clean_model=lambda: lab("none", 0.0, seed).model,
    )
    return context, clean, spec


@lru_cache(maxsize=32)
def _lab(name: str, ratio: float, seed: int, fields: tuple[tuple[str, Any], ...]) -> Lab:
    attack = cast(Attack, registry.get("attack", name).make(**dict(fields)))
    context, clean, spec = make_context(seed)
    test = digits().test
    context = victims.planned(attack, ratio, context)
    poison = None
    if not attack.controls_training:
        poison = victims.make_poison(attack, ratio, context, test)
    victim = victims.train(attack, context, spec, test, poison)
    return Lab(
        attack=attack,
        spec=spec,
        recipe=context.recipe,
        seed=seed,
        model=victim.model,
        poison=victim.poison,
        train_set=victim.poison.apply(context.train),
        clean_set=clean,
        test=test,
    )


def lab(name: str, ratio: float = 0.1, seed: int = 0, **fields: Any) -> Lab:
    """Train a victim on digits under a registered attack (seconds), once per process.

    Lists must be given as tuples.
    """
    return _lab(name, ratio, seed, tuple(sorted(fields.items())))
