from dataclasses import replace

import torch
import yaml

from bdb import presets
from bdb.attacks.data_poisoning.narcissus import Narcissus, _with_one_class_more
from bdb.attacks.surrogates import Surrogate
from bdb.testing import Lab, equipped, lab, make_context, surrogate
from bdb.training import inference

FIELDS = yaml.safe_load(presets.text("digits"))["attacks"]["narcissus"]
FEW = 0.035  # of 1,146 images


def victim() -> Lab:
    return lab("narcissus", FEW, **FIELDS)


def test_a_few_tens_of_images_are_a_backdoor() -> None:
    assert int(victim().is_poison().sum()) <= 40
    accuracy, success = victim().rates(victim().model)
    control = lab("none", 0.0)
    assert accuracy >= control.rates(control.model)[0] - 0.03
    assert success >= 0.8


def test_every_label_stays_and_only_the_target_class_is_poisoned() -> None:
    context, _ = make_context()
    plan = victim().poison.plan
    assert torch.equal(plan.labels, context.samples(plan.ids).labels)
    assert set(plan.labels.tolist()) == {victim().attack.target}


def test_poisons_stay_within_eps_and_the_test_is_stronger() -> None:
    context, _ = make_context()
    attack, poison = victim().attack, victim().poison
    assert isinstance(attack, Narcissus)
    change = poison.images.int() - context.samples(poison.plan.ids).images.int()
    assert int(change.abs().max()) <= attack.eps
    noise = poison.state["noise"]
    assert float(noise.abs().max()) <= attack.eps / 255 + 1e-6
    test = poison.test.images.int() - victim().test[poison.test.ids].images.int()
    assert attack.eps < int(test.abs().max()) <= attack.amplification * attack.eps + 1


def test_the_noise_points_into_the_target_class_for_a_model_that_never_met_the_attacker() -> None:
    """It was made without any other class of the data set, and without this model."""
    model, triggered = lab("none", 0.0).model, victim().poison.test
    clean = victim().test[triggered.ids].images
    before, after = (
        inference.logits(model, images)[:, victim().attack.target]
        for images in (clean, triggered.images)
    )
    assert float((after > before).float().mean()) > 0.8


def test_it_sees_the_target_class_alone() -> None:
    """Other images of the run's own data change nothing."""
    attack = Narcissus(**FIELDS | {"tuning_epochs": 1, "warmup_epochs": 1, "rounds": 1})
    context, _ = make_context(size=200)
    blank = context.train.images.clone()
    blank[context.train.labels != attack.target] = 0
    changed = context.train.replaced(context.train.ids, context.train.labels, blank)
    first, second = (
        attack.prepare_trigger(equipped(attack, replace(context, train=train)))
        for train in (context.train, changed)
    )
    assert torch.equal(first["noise"], second["noise"])


def test_the_surrogate_gets_a_class_more_and_stays_what_it_was() -> None:
    model = surrogate(Surrogate(foreign=True))
    wider = _with_one_class_more(model)
    images = make_context(size=20)[0].train.images
    logits = inference.logits(wider, images)
    assert torch.allclose(logits[:, :-1], inference.logits(model, images), atol=1e-5)
    assert bool((logits[:, -1] == 0).all())
    assert wider.head.out_features == model.head.out_features + 1
