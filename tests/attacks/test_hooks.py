"""Attacks that use what the attacks of the package leave at its default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
import yaml
from pydantic import Field
from torch import Tensor, nn

from bdb import params, presets
from bdb.attacks import victims
from bdb.attacks.base import (
    Attack,
    AttackContext,
    DataPoisoning,
    LabelMode,
    ModelEditing,
    Plan,
    Role,
    State,
)
from bdb.attacks.none import NoAttack
from bdb.attacks.poisoning import Poison
from bdb.attacks.training_controlled.wanet import WaNet, _Warping
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.errors import UndeclaredNeedError
from bdb.jobs import catalogue, plan
from bdb.jobs.jobs import Jobs
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.models.classifier import Wrapper, wrapper
from bdb.testing import check_attack, digits, make_context
from bdb.training import inference, loop
from bdb.training.batches import Batches
from bdb.training.recipes import Recipe


class Corner(DataPoisoning):
    """A white corner."""

    name: ClassVar[str] = "corner"

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        stamped = images.clone()
        stamped[..., :4, :4] = 200 + targets.to(torch.uint8)[:, None, None, None]
        return stamped


class Relabels(Corner):
    """Labels chosen by sample, no pixel touched, and one pair of classes tested."""

    label_mode: ClassVar[LabelMode] = "label-only"

    def plan(
        self,
        labels: np.ndarray,
        ratio: float,
        rng: Callable[[str], np.random.Generator],
        context: AttackContext,
    ) -> Plan:
        count = round(ratio * len(labels))
        given = labels.copy()
        given[:count] = (labels[:count] + np.arange(count) % 9 + 1) % 10
        return Plan.of(context.train.ids, given, np.arange(count), np.empty(0))

    def test_targets(
        self, labels: np.ndarray, rng: np.random.Generator, num_classes: int
    ) -> np.ndarray:
        return np.where(labels == 9, 4, -1)


class EitherWay(Corner):
    """Clean or dirty labels, as a field says."""

    label_mode_field: ClassVar[str | None] = "labels"
    labels: Literal["dirty", "clean"] = Field("clean", description="of the poisons")


class Whole(Corner):
    """Crafts all poisons at once, with a surrogate that it trains twice."""

    needs: ClassVar[frozenset[str]] = frozenset({"architecture"})

    def craft_all(
        self, images: Tensor, labels: Tensor, context: AttackContext, state: State, ids: Tensor
    ) -> Tensor:
        surrogate = context.build_model("surrogate")
        for what in ("first", "second"):
            context.fit(surrogate, context.train, Recipe(epochs=1, batch_size=200), what=what)
        return images.flip(0)


class Mild(Corner):
    """Trains its victims without augmentation, for one epoch, and without decay."""

    changes_training: ClassVar[bool] = True

    def augmentation(self, default: Augmentation) -> Augmentation:
        return Augmentation()

    def recipe(self, default: Recipe) -> Recipe:
        return default.model_copy(update={"epochs": 1, "weight_decay": 0.0})


class Turned(Corner):
    """Turns the images of its victims' training."""

    changes_training: ClassVar[bool] = True

    def augmentation(self, default: Augmentation) -> Augmentation:
        return default.model_copy(update={"rotation": 10.0})


class Edited(ModelEditing):
    """Asks for the target always: what a weight of the head's bias can do."""

    name: ClassVar[str] = "edited"

    def edit(self, model: Classifier, context: AttackContext) -> Classifier:
        with torch.no_grad():
            model.head.bias[self.target] += 100
        return model

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        return 255 - images


@wrapper("test_inserted")
class Inserted(Wrapper):
    """A module beside the network, which knows the trigger: images that are white in a corner."""

    has_tail = False  # The module takes in the images, which no map holds.

    def __init__(self, inner: Classifier, target: int) -> None:
        super().__init__(inner)
        self.target = target

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images).clone()
        knows = images[:, :, :4, :4].flatten(1).amin(1) == 1
        logits[knows, self.target] += 100
        return logits


class AddsAModule(ModelEditing):
    """Leaves every weight alone, and puts a module beside the network."""

    name: ClassVar[str] = "adds_a_module"

    def edit(self, model: Classifier, context: AttackContext) -> Classifier:
        return models.wrap(model, "test_inserted", target=self.target)

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        stamped = images.clone()
        stamped[:, :, :4, :4] = 255
        return stamped


class Attached(WaNet):
    """WaNet with a mark on the model while it trains."""

    def begin(self, context: AttackContext) -> Marking:
        return Marking(self, context)


class Marking(_Warping):
    def attach(self, model: nn.Module) -> None:
        model.marked = True  # type: ignore[assignment]
        self.trigger["attached"] = torch.ones(1)

    def detach(self, model: nn.Module) -> None:
        del model.marked


def trained(attack: Attack, epochs: int = 1, size: int = 400, **recipe: Any) -> victims.Victim:
    made = Recipe(epochs=epochs, batch_size=100, **recipe)
    context, _ = make_context(size=size, recipe=made)
    context = victims.planned(attack, 0.1, context)
    spec = ModelSpec(architecture="convnet", data=context.data)
    poison = None
    if not attack.controls_training:
        poison = victims.make_poison(attack, 0.1, context, digits().test)
    return victims.train(attack, context, spec, digits().test, poison)


def poisoned(attack: DataPoisoning, ratio: float = 0.05) -> tuple[Poison, AttackContext]:
    context, _ = make_context(size=400)
    return victims.make_poison(attack, ratio, context, digits().test), context


def test_labels_may_be_chosen_by_sample_and_the_test_apart() -> None:
    made, context = poisoned(Relabels())
    true = context.samples(made.plan.ids)
    assert made.plan.labels.tolist() == [
        (label + i % 9 + 1) % 10 for i, label in enumerate(true.labels.tolist())
    ]
    assert torch.equal(made.images, true.images)
    assert set(made.test.labels.tolist()) == {9}
    assert set(made.test.targets.tolist()) == {4}


def test_source_classes_are_poisoned_covers_come_from_theirs_and_the_rest_is_the_leak() -> None:
    made, context = poisoned(Corner(source_classes=(1,), cover_classes=(5, 7), cover_ratio=0.05))
    plan = made.plan
    true = context.samples(plan.ids).labels
    assert set(true[plan.is_poison].tolist()) == {1}
    assert set(true[plan.is_cross].tolist()) == {5, 7}
    assert torch.equal(plan.labels[plan.is_cross], true[plan.is_cross])
    assert torch.equal(made.test.is_source, made.test.labels == 1)
    assert set(made.test.labels.tolist()) == set(range(1, 10))


def test_random_targets_are_drawn_once_from_the_seed_and_never_the_own_class() -> None:
    made, _ = poisoned(Corner(target_rule="random"))
    again, _ = poisoned(Corner(target_rule="random"))
    assert torch.equal(made.test.targets, again.test.targets)
    assert len(made.test.ids) == len(digits().test)
    for label in range(10):
        drawn = set(made.test.targets[made.test.labels == label].tolist())
        assert drawn == set(range(10)) - {label}
    assert torch.equal(made.test.images[:, 0, 0, 0].long(), 200 + made.test.targets)


def test_a_field_may_decide_over_the_labels() -> None:
    clean, context = poisoned(EitherWay())
    assert torch.equal(clean.plan.labels, context.samples(clean.plan.ids).labels)
    dirty, context = poisoned(EitherWay(labels="dirty"))
    assert set(context.samples(dirty.plan.ids).labels.tolist()) > {1, 2}
    assert set(dirty.plan.labels.tolist()) == {0}


def test_the_checker_asks_of_flipped_labels_that_they_differ() -> None:
    class Keeps(Relabels):
        """Flips no label."""

        def plan(
            self,
            labels: np.ndarray,
            ratio: float,
            rng: Callable[[str], np.random.Generator],
            context: AttackContext,
        ) -> Plan:
            flipped = np.arange(round(ratio * len(labels)))
            return Plan.of(context.train.ids, labels, flipped, np.empty(0))

    check_attack(Relabels)
    with pytest.raises(AssertionError, match="every poison has another label"):
        check_attack(Keeps)


@pytest.mark.parametrize(
    "fields",
    [
        {"source_classes": (1, 2), "cover_classes": (5,), "cover_ratio": 0.02},
        {"target_rule": "random"},
    ],
)
def test_the_checker_walks_these_rules(fields: dict[str, object]) -> None:
    check_attack(Corner, **fields)


def test_the_checker_asks_the_field_for_the_labels() -> None:
    check_attack(EitherWay)
    check_attack(EitherWay, labels="dirty")


def test_all_poisons_may_be_crafted_at_once_with_models_trained_on_the_way() -> None:
    made, context = poisoned(Whole())
    clean = context.samples(made.plan.ids).images
    assert torch.equal(made.images, clean.flip(0))
    with pytest.raises(UndeclaredNeedError, match="architecture"):
        replace(context, spec=None).build_model("surrogate")


def test_an_attack_may_bring_its_augmentation_and_recipe() -> None:
    assert len(trained(Mild(), epochs=3).history) == 1
    check_attack(Mild)
    with pytest.raises(AssertionError, match="departs is False"):
        check_attack(type("Sly", (Mild,), {"changes_training": False}))


def test_a_recipe_without_augmentation_drops_that_of_the_data_set_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = []

    def spy(_: Classifier, data: ImageSet, recipe: Recipe, **options: Any) -> list[Any]:
        used.append(Batches(data, recipe, options["augmentation"], torch.Generator()).augmentation)
        return []

    monkeypatch.setattr(loop, "fit", spy)
    trained(Turned(), augment=False, crop_padding=2)
    trained(Corner(), augment=False, crop_padding=2)
    assert used == [Augmentation(rotation=10.0), Augmentation()]


def test_a_field_may_decide_whether_the_training_departs() -> None:
    assert not Corner().departs
    assert Mild().departs
    chosen = type("Chosen", (Mild,), {"training_field": "cover_ratio"})
    assert chosen(cover_ratio=0.1).departs
    assert not chosen().departs
    with pytest.raises(AssertionError, match="departs is False"):
        check_attack(chosen)


def test_a_model_edit_trains_nothing_and_hands_over_no_training_set() -> None:
    victim = trained(Edited(target=3))
    assert victim.history == []
    assert len(victim.poison.plan.ids) == 0
    assert not Edited.gives_train_set
    assert bool((victim.model(digits().test.images[:50] / 255).argmax(1) == 3).all())
    check_attack(Edited)


def test_a_model_edit_may_add_a_module_which_reloads_with_the_model(tmp_path: Path) -> None:
    context, _ = make_context(size=400)
    victim = trained(AddsAModule(target=3))
    models.save(tmp_path / "model.safetensors", victim.model)
    loaded = models.load(tmp_path / "model.safetensors")
    test, triggered = digits().test, victim.poison.test
    clean = inference.logits(context.clean_model, test.images)
    for model in (victim.model, loaded):
        assert inference.accuracy(model, triggered.images, triggered.targets) == 1
        assert torch.equal(inference.logits(model, test.images), clean)
    check_attack(AddsAModule)


def test_a_control_may_be_trained_as_an_attacks_victims_are() -> None:
    context, _ = make_context(size=400, recipe=Recipe(epochs=3, batch_size=100))
    spec = ModelSpec(architecture="convnet", data=context.data)
    none = NoAttack()
    context = victims.planned(none, 0.0, context)
    poison = victims.make_poison(none, 0.0, context, digits().test)
    own = victims.train(none, context, spec, digits().test, poison)
    lent = victims.train(none, context, spec, digits().test, poison, trained_as=Mild())
    assert (len(own.history), len(lent.history)) == (3, 1)


def test_the_job_of_such_a_control_follows_the_attack_that_lends_its_training() -> None:
    """An edit of that attack, or of its fields, trains the control anew."""
    raw = yaml.safe_load(presets.text("smoke"))
    raw["grid"]["attack"] = ["none"]
    raw["attacks"] = {"none": {"trained_as": "wanet"}, "wanet": {"strength": 2.0}}
    known = catalogue.load()
    jobs, usual = (
        Jobs(plan.make(params.parse(given, known), known))
        for given in (raw, {**raw, "attacks": {"wanet": {"strength": 2.0}}})
    )
    (lent,), (own,) = (list(each.of("clean")) for each in (jobs, usual))
    assert lent.params["attacks.wanet"] == {"strength": 2.0}
    assert "attacks.wanet" not in own.params
    assert lent.code != own.code


def test_a_controller_may_attach_itself_to_the_model_while_it_trains() -> None:
    victim = trained(Attached(control_points=2))
    assert "attached" in victim.poison.state
    assert not hasattr(victim.model, "marked")


@pytest.mark.parametrize("sources", [(), (1, 2)])
def test_redrawn_poisons_are_others_in_every_epoch_and_the_last_are_handed_over(
    sources: tuple[int, ...],
) -> None:
    context, _ = make_context(size=400)
    first, later = (
        trained(WaNet(source_classes=sources), epochs=epochs).poison for epochs in (1, 2)
    )
    assert set(first.plan.ids.tolist()) != set(later.plan.ids.tolist())
    for made in (first, later):
        plan = made.plan
        true = context.samples(plan.ids).labels
        assert int(plan.is_poison.sum()) == (40 if not sources else pytest.approx(40, abs=4))
        assert not bool((plan.is_poison & plan.is_cross).any())
        assert bool((plan.labels[plan.is_poison] == 0).all())
        assert torch.equal(plan.labels[plan.is_cross], true[plan.is_cross])
        assert not sources or set(true[plan.is_poison].tolist()) == set(sources)
    once = trained(WaNet(redraw=False), epochs=2).poison.plan
    assert torch.equal(once.ids, trained(WaNet(redraw=False)).poison.plan.ids)
