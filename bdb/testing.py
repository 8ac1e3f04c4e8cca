"""For tests, here and in other packages: small real victims, and the contracts every method keeps.

from bdb.testing import check_attack, check_defense
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from bdb import registry
from bdb.attacks import poisoning, victims
from bdb.attacks.base import Attack, AttackContext, Plan
from bdb.attacks.poisoning import Poison
from bdb.datasets import split
from bdb.datasets.base import DataSpec, ImageSet, RawData
from bdb.defenses import features
from bdb.defenses.base import DefenderView, Defense, Evidence, Outcome
from bdb.defenses.features import VictimFeatures
from bdb.method import Method
from bdb.models import base as models
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

    @cached_property
    def features(self) -> VictimFeatures:
        """What the victim makes of its training set and of the clean set."""
        train, clean = (
            features.extract(self.model, images.images)
            for images in (self.train_set, self.clean_set)
        )
        return VictimFeatures(train, clean)

    def is_poison(self) -> Tensor:
        """Which samples of `train_set` are poison: bool, N."""
        plan = self.poison.plan
        return torch.isin(self.train_set.ids, plan.ids[plan.is_poison])

    def view(self, defense: Defense) -> DefenderView:
        """What the defense may see of this victim."""
        given: dict[str, Callable[[], Any]] = {
            "model": lambda: self.model,
            "train_set": lambda: self.train_set,
            "clean_set": lambda: self.clean_set,
            "inputs": lambda: self.inputs()[0],
            "features": lambda: self.features,
        }
        return DefenderView(
            Evidence(**{need: given[need]() for need in defense.needs}),
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
) -> tuple[AttackContext, ImageSet]:
    """An attack's context on digits without a plan, and the defender's clean set.

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
    mask = torch.from_numpy(split.part_mask(raw.train.labels.numpy(), 0.2, rng))
    train, clean = raw.train[~mask], raw.train[mask]
    if size is not None:
        train = train[torch.arange(size)]
    recipe = recipe or recipes.resolve("fast", {}, Digits.recipes)
    context = AttackContext(
        data=data,
        train=train,
        recipe=recipe,
        seed=seed,
        device=CPU,
        load_clean_model=lambda: lab("none", 0.0, seed).model,
    )
    return context, clean


def make_lab(
    attack: Attack, ratio: float, context: AttackContext, clean: ImageSet, test: ImageSet
) -> Lab:
    """Train a victim in a context of `make_context`."""
    spec = ModelSpec(architecture="convnet", data=context.data)
    context = victims.planned(attack, ratio, context)
    poison = None
    if not attack.controls_training:
        poison = victims.make_poison(attack, ratio, context, test)
    victim = victims.train(attack, context, spec, test, poison)
    return Lab(
        attack=attack,
        spec=spec,
        recipe=context.recipe,
        seed=context.seed,
        model=victim.model,
        poison=victim.poison,
        train_set=victim.poison.apply(context.train),
        clean_set=clean,
        test=test,
    )


@lru_cache(maxsize=32)
def _lab(name: str, ratio: float, seed: int, fields: tuple[tuple[str, Any], ...]) -> Lab:
    attack = cast(Attack, registry.get("attack", name).make(**dict(fields)))
    context, clean = make_context(seed)
    return make_lab(attack, ratio, context, clean, digits().test)


def lab(name: str, ratio: float = 0.1, seed: int = 0, **fields: Any) -> Lab:
    """Train a victim on digits under a registered attack (seconds), once per process.

    Lists must be given as tuples.
    """
    return _lab(name, ratio, seed, tuple(sorted(fields.items())))


def quick(cls: type[Method]) -> dict[str, Any]:
    """Fields that shorten a method: whatever counts epochs, steps, iterations or rounds."""
    endings = ("epochs", "iterations", "steps", "rounds")
    return {
        name: min(field.default, 2)
        for name, field in cls.model_fields.items()
        if name.endswith(endings) and isinstance(field.default, int)
    }


def check_attack(cls: type[Attack], ratio: float = 0.05, **fields: Any) -> None:
    """Check the contract of an attack on a small part of digits.

    Raises:
        AssertionError: a hook does not keep it.
    """
    attack = cls(**(quick(cls) | fields))
    context, _ = make_context(size=400, recipe=Recipe(epochs=1, batch_size=64))
    poison = _make(attack, ratio, context)
    _check_plan(attack, ratio, context, poison.plan)
    _check_pixels(attack, context, poison)
    _check_round_trip(attack, poison)
    again = _make(attack, ratio, context)
    same = _tensors(poison).items()
    assert all(torch.equal(tensor, _tensors(again)[name]) for name, tensor in same), "same seed"


def check_defense(cls: type[Defense], **fields: Any) -> None:
    """Check the contract of a defense on a small victim of BadNets.

    Raises:
        AssertionError: it changes its input, or gives what its class variables deny.
        UndeclaredNeedError: it reads what it does not declare.
    """
    defense = cls(**(quick(cls) | fields))
    victim = _small_victim()
    before = {name: tensor.clone() for name, tensor in victim.model.state_dict().items()}
    outcome, again = (defense.run(victim.view(defense)) for _ in range(2))
    after = victim.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "the victim has changed"
    assert (outcome.model is not None) == cls.mitigates, f"mitigates is {cls.mitigates}"
    json.dumps(outcome.verdict)
    lengths = {"train": len(victim.train_set), "inputs": len(victim.inputs()[0])}
    for where, scores in outcome.scores.items():
        assert scores.shape == (lengths[where],), f"a score per sample of {where!r}"
        assert torch.equal(scores, again.scores[where]), "same seed, same scores"
    for where, flagged in outcome.flagged.items():
        assert flagged.shape == (lengths[where],), f"a flag per sample of {where!r}"
        assert flagged.dtype == torch.bool, "flags are bool"
    if outcome.model is not None and again.model is not None:
        _check_model(outcome.model, again.model, victim)


def _make(attack: Attack, ratio: float, context: AttackContext) -> Poison:
    """The poison of either kind of attack."""
    if not attack.controls_training:
        return victims.make_poison(attack, ratio, context, digits().test)
    planned = victims.planned(attack, ratio, context)
    spec = ModelSpec(architecture="convnet", data=context.data)
    return victims.train(attack, planned, spec, digits().test).poison


def _check_plan(attack: Attack, ratio: float, context: AttackContext, plan: Plan) -> None:
    true = context.samples(plan.ids).labels.cpu()
    count = round(ratio * len(context.train)) if attack.poisons else 0
    assert int(plan.is_poison.sum()) == count, f"{count} poisons"
    assert bool((plan.ids.diff() > 0).all()), "ids ascend"
    assert not bool((plan.is_poison & plan.is_cross).any()), "covers are not poison"
    assert bool((plan.is_poison | plan.is_cross).all()), "a planned sample is one of the two"
    assert torch.equal(plan.labels[plan.is_cross], true[plan.is_cross]), "covers keep their labels"
    given, truth = plan.labels[plan.is_poison], true[plan.is_poison]
    rng = seeds.numpy_generator(0, "check")
    wanted = attack.relabel(truth.numpy(), rng, context.data.num_classes)
    if attack.label_mode == "clean":
        assert torch.equal(given, truth), "labels stay clean"
        assert bool((given == attack.target).all()), "only the target class is poisoned"
    elif attack.target_rule != "multi-target" or attack.targets:
        assert given.tolist() == list(wanted), "labels follow the target rule"


def _check_pixels(attack: Attack, context: AttackContext, poison: Poison) -> None:
    test = digits().test
    assert poison.images.dtype == torch.uint8, "images are uint8"
    assert poison.images.shape == (len(poison.plan.ids), *context.data.shape), "one per sample"
    triggered = poison.test
    assert bool((triggered.labels != triggered.targets).all()), "no image of its own target"
    assert torch.equal(test.labels[triggered.ids], triggered.labels), "true labels"
    originals = test.images[triggered.ids]
    assert triggered.images.dtype == torch.uint8
    assert triggered.images.shape == originals.shape, "the trigger keeps the shape"
    changed = (triggered.images != originals).flatten(1).any(1).float().mean()
    assert bool(changed > 0.9) == attack.poisons, "the trigger shows"


def _check_round_trip(attack: Attack, poison: Poison) -> None:
    """What was saved stamps the same pixels, in whatever order the images come."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "poison.safetensors"
        poisoning.save(path, poison)
        loaded = poisoning.load(path)
    expected = _tensors(poison)
    assert expected.keys() == _tensors(loaded).keys()
    assert all(torch.equal(t, expected[name]) for name, t in _tensors(loaded).items()), "round trip"
    test = poison.test
    order = torch.randperm(len(test.ids), generator=seeds.generator(0, "check"))
    images = digits().test.images[test.ids]
    before = images.clone()
    stamped = attack.stamp(
        images[order],
        loaded.state,
        role="test",
        ids=test.ids[order],
        targets=test.targets[order],
    )
    assert torch.equal(images, before), "stamp leaves its input alone"
    # A learned generator may differ in the last bit from batch to batch.
    difference = (stamped.int() - test.images[order].int()).abs()
    assert int(difference.max()) <= 1, "stamping depends on ids, not on order"


def _check_model(model: Classifier, again: Classifier, victim: Lab) -> None:
    images = victim.test.images[:64]
    logits = inference.logits(model, images)
    assert bool(logits.isfinite().all()), "finite predictions"
    assert torch.equal(logits, inference.logits(again, images)), "same seed, same model"
    assert torch.equal(logits, inference.logits(_reload(model), images)), "the model reloads"


def _reload(model: Classifier) -> Classifier:
    with tempfile.TemporaryDirectory() as folder:
        models.save(Path(folder) / "model.safetensors", model)
        return models.load(Path(folder) / "model.safetensors")


def _tensors(poison: Poison) -> dict[str, Tensor]:
    plan, test = vars(poison.plan), vars(poison.test)
    named = {f"test.{name}": tensor for name, tensor in test.items()}
    state = {f"state.{name}": tensor for name, tensor in poison.state.items()}
    return {**plan, "images": poison.images, **named, **state}


@cache
def _small_victim() -> Lab:
    context, clean = make_context(size=400, recipe=Recipe(epochs=4, batch_size=64, lr=0.05))
    attack = cast(Attack, registry.get("attack", "badnets").make())
    return make_lab(attack, 0.1, context, clean, digits().test[torch.arange(60)])
