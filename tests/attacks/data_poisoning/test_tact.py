import pytest

from bdb.attacks import victims
from bdb.attacks.data_poisoning.tact import TargetedContamination
from bdb.testing import lab, make_context
from bdb.training import inference


@pytest.mark.slow
def test_the_trigger_works_on_the_source_class_and_leaks_little_on_others() -> None:
    victim = lab("tact", 0.05)
    triggered = victim.poison.test
    hits = inference.logits(victim.model, triggered.images).argmax(1) == triggered.targets
    assert inference.accuracy(victim.model, victim.test.images, victim.test.labels) >= 0.97
    assert float(hits[triggered.is_source].float().mean()) >= 0.8
    assert float(hits[~triggered.is_source].float().mean()) <= 0.15


def test_poisons_are_of_the_source_class_and_covers_of_all_others() -> None:
    context, _ = make_context()
    plan = victims.planned(TargetedContamination(), 0.05, context).plan
    assert plan is not None
    true = context.samples(plan.ids).labels
    assert set(true[plan.is_poison].tolist()) == {1}
    assert set(plan.labels[plan.is_poison].tolist()) == {0}
    assert set(true[plan.is_cross].tolist()) == set(range(2, 10))
    assert int(plan.is_cross.sum()) == int(plan.is_poison.sum())
