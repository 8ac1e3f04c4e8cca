"""For tests, here and in other packages: small real victims, and the contracts every method keeps.

from bdb.testing import check_analysis, check_attack, check_defense, check_wrapper

The odd victims that a method must survive as well are in `bdb.edges`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from bdb import artifacts, registry
from bdb.analyses.base import Analysis, AnalysisView, Cost, Delivered, Picture
from bdb.attacks import poisoning, victims
from bdb.attacks.base import Attack, AttackContext, ModelEditing, Plan
from bdb.attacks.poisoning import Poison
from bdb.attacks.surrogates import Surrogate
from bdb.datasets import foreign, split
from bdb.datasets.base import DataSpec, ImageSet, RawData
from bdb.defenses import certificates, features
from bdb.defenses import evidence as found
from bdb.defenses.base import DefenderView, Defense, Given, Outcome
from bdb.defenses.features import VictimFeatures
from bdb.errors import BdbError
from bdb.layout import Run
from bdb.method import Method
from bdb.models import base as models
from bdb.models import surgery
from bdb.models.base import Classifier, ModelSpec
from bdb.report import style
from bdb.training import adversarial, inference, loop, recipes, seeds
from bdb.training.recipes import Recipe

CPU = torch.device("cpu")


@cache
def digits() -> RawData:
    """The embedded data set."""
    from bdb.datasets.digits import Digits

    return Digits().read(None)  # type: ignore[arg-type]


@cache
def letters() -> RawData:
    """The other embedded data set, foreign to digits."""
    from bdb.datasets.letters import Letters

    return Letters().read(None)  # type: ignore[arg-type]


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
            Given(**{need: given[need]() for need in defense.needs}),
            defense.needs,
            spec=self.spec,
            recipe=self.recipe,
            seed=seeds.derive(self.seed, "defend", defense.name),
            device=CPU,
        )

    def analyst_view(self, needs: frozenset[str]) -> AnalysisView:
        """What an analysis with these needs may see; the defended model is pruned by `clp`."""
        given: dict[str, Callable[[], Any]] = {
            "model": lambda: self.model,
            "clean_model": lambda: lab("none", 0.0, self.seed).model,
            "defended": lambda: self.defend("clp").model,
            "train_set": lambda: Delivered(self.train_set, self.is_poison()),
            "test": lambda: self.test,
            "triggered": lambda: self.poison.test,
            "cost": lambda: Cost(training=10.0, defense=2.5),
        }
        ratio = "0.1" if self.attack.poisons else "0"
        return AnalysisView(
            run=Run("digits", self.spec.architecture, self.attack.name, ratio, self.seed),
            data=self.spec.data,
            needs=needs,
            given={need: given[need]() for need in needs},
            seed=self.seed,
            device=CPU,
            of="clp" if "defended" in needs else None,
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
        spec=ModelSpec(architecture="convnet", data=data),
        load_clean_model=lambda: lab("none", 0.0, seed).model,
    )
    return context, clean


def equipped(attack: Attack, context: AttackContext) -> AttackContext:
    """The context with what the attack declares: surrogates, foreign data, its shared trigger.

    A context that brings surrogates of its own keeps them, but for those on foreign data.
    """
    declared, own = attack.surrogates, context.load_surrogate

    def load(name: str) -> Classifier:
        if own is AttackContext.load_surrogate:
            return surrogate(declared[name], context.seed)
        return _fresh_on_letters(context.data) if declared[name].foreign else own(name)

    context = replace(context, load_foreign=lambda: _foreign(context), load_surrogate=load)
    return replace(context, load_trigger=cache(lambda: attack.prepare_trigger(context)))


def silenced(model: Classifier) -> list[tuple[str, int]]:
    """The batch-norm channels that are at zero, each with its norm's name."""
    return [
        (name, channel)
        for name, norm in surgery.batch_norms(model).items()
        for channel in ((norm.weight == 0) & (norm.bias == 0)).nonzero().flatten().tolist()
    ]


def check_only_silenced(defended: Classifier, original: Classifier) -> None:
    """Check that a defended model is the original with some channels at zero, and no more."""
    expected = models.duplicate(original)
    for name, channel in silenced(defended):
        norm = surgery.batch_norms(expected)[name]
        surgery.prune(norm, torch.arange(norm.num_features) == channel)
    state = defended.state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(state[name], tensor), f"{name} has changed otherwise"


def surrogate(declared: Surrogate, seed: int = 0) -> Classifier:
    """A small model of this description, on digits or letters, once per process."""
    return _surrogate(declared.model_copy(update={"seed": declared.seed + seed}))


@cache
def _surrogate(declared: Surrogate) -> Classifier:
    recipe = Recipe(epochs=4, batch_size=64, lr=0.05)
    context, _ = make_context(declared.seed, recipe=recipe)
    data, train = context.data, context.train
    if declared.foreign:
        data, train = _letters_like(data), letters().train
    spec = ModelSpec(architecture=declared.model or "convnet", data=data)
    model = models.build(spec, declared.seed)
    eps = declared.eps
    step = adversarial.step(eps, declared.steps) if eps else loop.cross_entropy
    loop.fit(model, train, recipe, seed=declared.seed, step=step)
    return model


def _letters_like(data: DataSpec) -> DataSpec:
    """What letters are in the shape of other data."""
    return data.model_copy(update={"dataset": "letters", "classes": letters().classes})


def _fresh_on_letters(data: DataSpec) -> Classifier:
    """A model that has learned nothing, for letters in the shape of these data."""
    return models.build(ModelSpec(architecture="convnet", data=_letters_like(data)), 0).eval()


def _foreign(context: AttackContext) -> ImageSet:
    """Letters in the shape of the context's images, no more than there are of these."""
    every = letters().train
    count = min(len(every), len(context.train))
    some = every[torch.linspace(0, len(every) - 1, count).long()].renumbered()
    return foreign.reshape(some, context.data.shape).to(context.device)


def make_lab(
    attack: Attack,
    ratio: float,
    context: AttackContext,
    clean: ImageSet,
    test: ImageSet,
    kept: Path | None = None,
) -> Lab:
    """Train a victim in a context of `make_context`, of the architecture that it names.

    Args:
        attack: the attacker.
        ratio: of poison.
        context: what the attacker has.
        clean: the defender's clean images.
        test: the clean test set.
        kept: a folder where the victim is kept, and found if it was trained before.
    """
    spec = context.spec or ModelSpec(architecture="convnet", data=context.data)
    context = victims.planned(attack, ratio, equipped(attack, context))
    if kept is None or not (kept / "model.safetensors").exists():
        model, poison = _train(attack, ratio, context, spec, test)
        if kept is not None:
            poisoning.save(kept / "poison.safetensors", poison)
            models.save(kept / "model.safetensors", model)
    else:
        model = models.load(kept / "model.safetensors")
        poison = poisoning.load(kept / "poison.safetensors")
    return Lab(
        attack=attack,
        spec=spec,
        recipe=context.recipe,
        seed=context.seed,
        model=model,
        poison=poison,
        train_set=poison.apply(context.train),
        clean_set=clean,
        test=test,
    )


def _train(
    attack: Attack, ratio: float, context: AttackContext, spec: ModelSpec, test: ImageSet
) -> tuple[Classifier, Poison]:
    poison = None
    if not attack.controls_training:
        poison = victims.make_poison(attack, ratio, context, test)
    victim = victims.train(attack, context, spec, test, poison)
    return victim.model, victim.poison


@lru_cache(maxsize=32)
def _lab(name: str, ratio: float, seed: int, fields: tuple[tuple[str, Any], ...]) -> Lab:
    attack = cast(Attack, registry.get("attack", name).make(**dict(fields)))
    context, clean = make_context(seed)
    shared = os.environ.get("BDB_LABS")
    key = hashlib.sha256(repr((name, ratio, seed, fields)).encode()).hexdigest()[:16]
    kept = Path(shared) / f"{name}-{key}" if shared else None
    return make_lab(attack, ratio, context, clean, digits().test, kept)


def lab(name: str, ratio: float = 0.1, seed: int = 0, **fields: Any) -> Lab:
    """Train a victim on digits under a registered attack (seconds), once per process.

    Where BDB_LABS names a folder, once for all processes that share it; it is of one run of the
    tests, for nobody looks whether the code has changed since. Lists must be given as tuples.
    """
    return _lab(name, ratio, seed, tuple(sorted(fields.items())))


def quick(cls: type[Method]) -> dict[str, Any]:
    """Fields that shorten a method: whatever counts epochs, steps, rounds, partitions or so."""
    endings = ("epochs", "iterations", "steps", "rounds", "partitions")
    return {
        name: min(field.default, 2)
        for name, field in cls.model_fields.items()
        if name.endswith(endings) and isinstance(field.default, int)
    }


def narrow(cls: type[Method]) -> dict[str, Any]:
    """Fields that shorten a method and make the networks that it trains narrow."""
    width = cls.model_fields.get("width")
    networks = {"width": min(width.default, 4)} if width and width.annotation is int else {}
    return quick(cls) | networks


def check_attack(cls: type[Attack], ratio: float = 0.05, **fields: Any) -> None:
    """Check the contract of an attack on a small part of digits.

    Raises:
        AssertionError: a hook does not keep it, or an edited model what every model keeps.
    """
    attack = cls(**(narrow(cls) | fields))
    context, _ = make_context(size=400, recipe=Recipe(epochs=1, batch_size=64))
    _check_shared_trigger(cls)
    poison = _make(attack, ratio, context)
    check_plan(attack, ratio, context, poison.plan)
    _check_pixels(attack, context, poison)
    _check_round_trip(attack, poison)
    _check_training(attack, context)
    if isinstance(attack, ModelEditing):
        _check_edit(attack, replace(context, plan=poison.plan))
    again = _make(attack, ratio, context)
    same = _tensors(poison).items()
    assert all(torch.equal(tensor, _tensors(again)[name]) for name, tensor in same), "same seed"


def check_defense(cls: type[Defense], **fields: Any) -> None:
    """Check the contract of a defense on a small victim of BadNets.

    Raises:
        AssertionError: it changes its input, or gives what its class variables deny.
        BdbError: its model's certificates are not of their form.
        UndeclaredNeedError: it reads what it does not declare.
    """
    defense = cls(**(narrow(cls) | fields))
    victim = _small_victim()
    outcome, again = (run_checked(defense, victim) for _ in range(2))
    for where, scores in outcome.scores.items():
        assert torch.equal(scores, again.scores[where]), "same seed, same scores"
    for name, tensor in outcome.evidence.items():
        assert torch.equal(tensor, again.evidence[name]), "same seed, same evidence"
    if outcome.model is not None and again.model is not None:
        _check_model(outcome.model, again.model, victim)
        hidden = "features" in defense.hides
        assert outcome.model.has_features != hidden, f"hides is {set(defense.hides)}"
        if defense.certifies:
            _check_certificates(defense, outcome.model, victim.test.images[:64])


def check_analysis(cls: type[Analysis], **fields: Any) -> None:
    """Check the contract of an analysis on a small victim of BadNets, and its clean-model control.

    Raises:
        AssertionError: it changes what it looks at, its table is empty, or it draws otherwise the
            second time.
        UndeclaredNeedError: it reads what it does not declare.
    """
    analysis = cls(**(quick(cls) | fields))
    for victim in (_small_victim(), _small_victim("none", 0.0)):
        view = victim.analyst_view(analysis.needs)
        before = _weights(view)
        drawn, again = (_kept(analysis.run(view)) for _ in range(2))
        same = _weights(view).items()
        assert all(torch.equal(before[name], tensor) for name, tensor in same), "a model changed"
        assert drawn == again, "same seed, same picture and table"


def check_wrapper(model: Classifier, images: Tensor | None = None) -> None:
    """Check what every model keeps, wrapped or not, defended models included.

    Args:
        model: in evaluation mode, as it will be saved.
        images: uint8, N x C x H x W; a few of noise by default.

    Raises:
        AssertionError: it does not reload from its specification, an answer depends on the batch
            it comes in, a copy is not free of it, or features, stages and tail are not as declared.
    """
    if images is None:
        generator = seeds.generator(0, "check")
        shape = (16, *model.spec.data.shape)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    logits = inference.logits(model, images)
    assert logits.shape == (len(images), model.spec.data.num_classes), "logits are N x K"
    assert bool(logits.isfinite().all()), "finite predictions"
    alone = torch.cat([inference.logits(model, part) for part in images.flip(0).split(5)]).flip(0)
    torch.testing.assert_close(alone, logits, atol=1e-3, rtol=1e-3, msg="the batch matters")
    for name, twin in (("reloads", _reload(model)), ("is copied", models.duplicate(model))):
        assert twin.spec == model.spec, f"the model {name}; options are plain JSON values"
        same = twin.state_dict().items()
        assert all(torch.equal(model.state_dict()[key].cpu(), t.cpu()) for key, t in same), name
        # A loaded model has another memory layout, which may change the last bit.
        _assert_same(inference.logits(twin, images), logits, f"the model {name}")
    _check_parts(model, loop.to_float(images), logits)


@torch.no_grad()
def _check_parts(model: Classifier, images: Tensor, logits: Tensor) -> None:
    """Features and stages lead to the same logits, where the model declares them."""
    images = images.to(next(model.parameters()).device)
    if model.has_features:
        features = model.features(images)
        assert features.shape == (len(images), model.head.in_features), "features are N x D"
        _assert_same(model.classify(features), logits, "features lead to the logits")
    else:
        _check_refusal(model, images)
    with surgery.recording(model, model.attention_layers) as stages:
        model(images)
    for layer, maps in stages.items() if model.has_tail else ():
        _assert_same(model.tail(layer, maps), logits, f"the tail from {layer!r} leads to them")


def _check_refusal(model: Classifier, images: Tensor) -> None:
    """Asked for features that it denies, a model says so in one line."""
    refusal = None
    try:
        model.features(images)
    except BdbError as error:
        refusal = str(error)
    assert refusal is not None, f"has_features is {model.has_features}, but it gave some"
    assert "\n" not in refusal, "one line"


def _assert_same(found: Tensor, logits: Tensor, what: str) -> None:
    torch.testing.assert_close(found.float().cpu(), logits, atol=1e-3, rtol=1e-3, msg=what)


def _weights(view: AnalysisView) -> dict[str, Tensor]:
    """A copy of every model's weights."""
    return {
        f"{need} {name}": tensor.clone()
        for need, given in view.given.items()
        if isinstance(given, Classifier)
        for name, tensor in given.state_dict().items()
    }


def _kept(picture: Picture) -> tuple[bytes, bytes]:
    """Picture and table as they are saved."""
    assert len(picture.table), "the table behind the picture has rows"
    with tempfile.TemporaryDirectory() as folder:
        svg, table = Path(folder) / "it.svg", Path(folder) / "it.parquet"
        style.save_svg(picture.figure, svg)
        artifacts.write_table(table, picture.table)
        return svg.read_bytes(), table.read_bytes()


def run_checked(defense: Defense, victim: Lab) -> Outcome:
    """What a defense gives, which is of the form that its class variables promise.

    Raises:
        AssertionError: it changes the victim, or gives what they deny.
    """
    before = {name: tensor.clone() for name, tensor in victim.model.state_dict().items()}
    outcome = defense.run(victim.view(defense))
    after = victim.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "the victim has changed"
    assert (outcome.model is not None) == defense.mitigates, f"mitigates is {defense.mitigates}"
    assert (outcome.verdict is not None) == defense.judges, f"judges is {defense.judges}"
    json.dumps(outcome.verdict, allow_nan=False)
    problem = found.problem(outcome.evidence, defense, victim.spec.data)
    assert problem is None, problem
    lengths = {"train": len(victim.train_set), "inputs": len(victim.inputs()[0])}
    for where, scores in outcome.scores.items():
        assert scores.shape == (lengths[where],), f"a score per sample of {where!r}"
        assert bool(scores.isfinite().all()), f"finite scores of {where!r}"
    for where, flagged in outcome.flagged.items():
        assert flagged.shape == (lengths[where],), f"a flag per sample of {where!r}"
        assert flagged.dtype == torch.bool, "flags are bool"
    if outcome.model is not None:
        logits = inference.logits(outcome.model, victim.test.images[:64])
        assert bool(logits.isfinite().all()), "finite predictions"
    return outcome


def _make(attack: Attack, ratio: float, context: AttackContext) -> Poison:
    """The poison of either kind of attack."""
    context = equipped(attack, context)
    if not attack.controls_training:
        return victims.make_poison(attack, ratio, context, digits().test)
    planned = victims.planned(attack, ratio, context)
    spec = ModelSpec(architecture="convnet", data=context.data)
    return victims.train(attack, planned, spec, digits().test).poison


def _check_shared_trigger(cls: type[Attack]) -> None:
    """A trigger that no model matters to is made without one of the victim's architecture."""
    if cls.shares_trigger and "model" not in cls.trigger_depends_on:
        own = [name for name, wanted in cls.surrogates.items() if wanted.model is None]
        assert "clean_model" not in cls.needs, "the clean model hangs on the model"
        assert not own, f"surrogates {own} have the victim's architecture; name another"


def check_plan(attack: Attack, ratio: float, context: AttackContext, plan: Plan) -> None:
    """Check that so many samples are touched, and labelled as the attack's fields say.

    Raises:
        AssertionError: they are not.
    """
    true = context.samples(plan.ids).labels.cpu()
    some = attack.poisons and attack.uses_ratio
    count = round(ratio * len(context.train)) if some else 0
    batches = -(-len(context.train) // context.recipe.batch_size)
    slack = batches if attack.redraws else 0
    assert abs(int(plan.is_poison.sum()) - count) <= slack, f"{count} poisons"
    assert bool((plan.ids.diff() > 0).all()), "ids ascend"
    assert not bool((plan.is_poison & plan.is_cross).any()), "covers are not poison"
    assert bool((plan.is_poison | plan.is_cross).all()), "a planned sample is one of the two"
    assert torch.equal(plan.labels[plan.is_cross], true[plan.is_cross]), "covers keep their labels"
    given, truth = plan.labels[plan.is_poison], true[plan.is_poison]
    rng = seeds.numpy_generator(0, "check")
    wanted = attack.relabel(truth.numpy(), rng, context.data.num_classes)
    if attack.source_classes and attack.labelling == "dirty":
        assert bool(torch.from_numpy(attack.is_source(truth.numpy())).all()), "sources alone"
    if attack.labelling == "clean":
        assert torch.equal(given, truth), "labels stay clean"
        assert bool((given == attack.target).all()), "only the target class is poisoned"
    elif attack.labelling == "label-only":
        assert not bool((given == truth).any()), "every poison has another label"
    elif attack.target_rule == "random":
        assert not bool((given == truth).any()), "another class is drawn"
    else:
        assert given.tolist() == list(wanted), "labels follow the target rule"


def _check_pixels(attack: Attack, context: AttackContext, poison: Poison) -> None:
    test = digits().test
    assert poison.images.dtype == torch.uint8, "images are uint8"
    assert poison.images.shape == (len(poison.plan.ids), *context.data.shape), "one per sample"
    triggered = poison.test
    assert bool((triggered.labels != triggered.targets).all()), "no image of its own target"
    meant = torch.from_numpy(attack.is_source(triggered.labels.numpy()))
    assert torch.equal(triggered.is_source, meant), "source classes are told apart"
    assert torch.equal(test.labels[triggered.ids], triggered.labels), "true labels"
    originals = test.images[triggered.ids]
    assert triggered.images.dtype == torch.uint8
    assert triggered.images.shape == originals.shape, "the trigger keeps the shape"
    changed = (triggered.images != originals).flatten(1).any(1).float().mean()
    assert bool(changed > 0.9) == attack.poisons, "the trigger shows"


def _check_training(attack: Attack, context: AttackContext) -> None:
    """The victim's training differs exactly where it is declared to."""
    recipe, augmentation = context.recipe, context.data.augmentation
    same = (attack.recipe(recipe), attack.augmentation(augmentation)) == (recipe, augmentation)
    assert same != attack.departs, f"departs is {attack.departs}"


def _check_edit(attack: ModelEditing, context: AttackContext) -> None:
    """The edit leaves the clean model alone, is the same again, and reloads."""
    images = digits().test.images[:64]
    before = inference.logits(context.clean_model, images)
    edited, again = (
        attack.edit(models.duplicate(context.clean_model).eval(), context).eval() for _ in range(2)
    )
    logits = inference.logits(edited, images)
    assert torch.equal(logits, inference.logits(again, images)), "same seed, same model"
    assert torch.equal(logits, inference.logits(_reload(edited), images)), "the model reloads"
    untouched = inference.logits(context.clean_model, images)
    assert torch.equal(before, untouched), "the clean model stays"
    assert edited.has_features != ("features" in attack.hides), f"hides is {set(attack.hides)}"
    check_wrapper(edited, images)


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
    assert torch.equal(logits, inference.logits(again, images)), "same seed, same model"
    check_wrapper(model.eval(), images)  # A wrapper that was put around begins in training mode.


def _check_certificates(defense: Defense, model: Classifier, images: Tensor) -> None:
    """They are those of the model that is kept, and of each image alone."""
    stands = certificates.of(model, images, defense)
    for what, twin, parts in (("the model reloads", _reload(model), 64), ("the batch", model, 5)):
        again = torch.cat([certificates.of(twin, part, defense) for part in images.split(parts)])
        torch.testing.assert_close(again, stands, equal_nan=True, msg=f"certificates: {what}")


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
def _small_victim(name: str = "badnets", ratio: float = 0.1) -> Lab:
    context, clean = make_context(size=400, recipe=Recipe(epochs=4, batch_size=64, lr=0.05))
    attack = cast(Attack, registry.get("attack", name).make())
    return make_lab(attack, ratio, context, clean, digits().test[torch.arange(60)])
