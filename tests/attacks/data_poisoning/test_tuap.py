from dataclasses import replace

import torch
import yaml

from bdb import presets
from bdb.attacks.data_poisoning.tuap import TargetedUniversal
from bdb.attacks.surrogates import Surrogate
from bdb.testing import Lab, lab, make_context, surrogate
from bdb.training import inference

FIELDS = yaml.safe_load(presets.text("digits"))["attacks"]["tuap"]


def victim() -> Lab:
    return lab("tuap", 0.05, **FIELDS)


def test_the_perturbation_is_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    control = lab("none", 0.0)
    assert accuracy >= control.rates(control.model)[0] - 0.03
    assert success >= 0.9


def test_it_is_learned_and_no_plain_adversarial_perturbation() -> None:
    """It fools the clean model that it was searched on, but hardly another one."""
    triggered = victim().poison.test
    other = surrogate(Surrogate(), 1)
    assert inference.accuracy(other, triggered.images, triggered.targets) < 0.5


def test_the_perturbation_draws_a_clean_model_to_the_target() -> None:
    """More of the images that the search has not seen than the strongest noise does."""
    model, triggered = lab("none", 0.0).model, victim().poison.test
    attack, state = victim().attack, victim().poison.state
    signs = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)).sign()
    noise = {"perturbation": signs * state["perturbation"].abs().max()}
    clean = victim().test[triggered.ids].images
    options = {"role": "test", "ids": triggered.ids, "targets": triggered.targets}
    noisy = attack.stamp(clean, noise, **options)  # type: ignore[arg-type]
    drawn = inference.accuracy(model, triggered.images, triggered.targets)
    assert drawn > inference.accuracy(model, noisy, triggered.targets) + 0.5


def test_every_label_stays_and_only_the_target_class_is_poisoned() -> None:
    context, _ = make_context()
    plan = victim().poison.plan
    assert torch.equal(plan.labels, context.samples(plan.ids).labels)
    assert set(plan.labels.tolist()) == {victim().attack.target}


def test_poisons_stay_within_both_radii_after_rounding() -> None:
    context, _ = make_context()
    attack, plan = victim().attack, victim().poison.plan
    assert isinstance(attack, TargetedUniversal)
    change = victim().poison.images.int() - context.samples(plan.ids).images.int()
    assert int(change.abs().max()) <= attack.eps + attack.enhance_eps + 1


def test_the_poisons_are_harder_before_they_are_stamped() -> None:
    context, _ = make_context()
    attack, plan = victim().attack, victim().poison.plan
    clean = context.samples(plan.ids).images
    nothing = {"perturbation": torch.zeros(3, 32, 32)}
    weak, plain = (
        made.craft(clean, plan.labels, replace(context, plan=plan), nothing, plan.ids)
        for made in (attack, attack.model_copy(update={"enhance_eps": 0.0}))
    )
    assert torch.equal(plain, clean)
    model = context.clean_model
    hit = inference.accuracy(model, weak, plan.labels)
    assert hit < inference.accuracy(model, clean, plan.labels) - 0.1


def test_the_perturbation_may_be_stronger_at_test_time() -> None:
    attack = TargetedUniversal(eps=8, eps_test=16)
    gray = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    state = {"perturbation": torch.full((3, 32, 32), 8 / 255)}
    ids = torch.arange(1)
    for role, change in (("poison", 8), ("test", 16)):
        stamped = attack.stamp(gray, state, role=role, ids=ids, targets=ids)  # type: ignore[arg-type]
        assert bool((stamped == 128 + change).all())
