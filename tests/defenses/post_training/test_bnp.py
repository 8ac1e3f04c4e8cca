import dataclasses
from statistics import mean

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.defenses import masks, preactivations
from bdb.defenses.post_training.bnp import BatchNormPruning
from bdb.defenses.preactivations import Moments
from bdb.errors import ParamsError
from bdb.models import base as models
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.testing import Lab, check_only_silenced, lab, silenced

STRENGTH = {"u": None, "log_weight": 1, "max_drop": 0.05, "held_out": 0.4}


def defend(victim: Lab, **fields: object) -> Classifier:
    model = victim.defend("bnp", **fields).model
    assert model is not None
    return model


@pytest.mark.evidence
def test_removes_a_pattern_on_most_seeds() -> None:
    """Seeds 0, 1, 2: ASR 3, 8, 9 %; in float32 70 % on the first."""
    victims = [lab("lf", 0.1, seed) for seed in range(3)]
    after = [victim.rates(defend(victim, **STRENGTH)) for victim in victims]
    assert mean(success for _, success in after) < 0.5
    assert all(accuracy > 0.88 for accuracy, _ in after)


def test_removes_a_patch_by_pruning_alone() -> None:
    """Seeds 0, 1, 2: ASR 0, 1, 0 %, at most 6 points of C-Acc."""
    victim = lab("badnets")
    defended = defend(victim, **STRENGTH)
    before, after = victim.rates(victim.model), victim.rates(defended)
    assert before[1] > 0.9
    assert after[1] < 0.2
    assert after[0] > before[0] - 0.1
    cut = silenced(defended)
    assert 0 < len(cut) < 100
    check_only_silenced(defended, victim.model)


def test_costs_a_clean_model_what_is_allowed() -> None:
    """Seeds 0, 1, 2: 3, 3 and 0 points of 5 allowed on the images held out."""
    clean = lab("none", 0.0)
    before, after = clean.rates(clean.model)[0], clean.rates(defend(clean, **STRENGTH))[0]
    assert after > before - 0.08


def test_the_published_strength_costs_a_clean_model_little() -> None:
    """Seeds 0, 1, 2: 0, 2 and 0 points."""
    clean = lab("none", 0.0)
    before, after = clean.rates(clean.model)[0], clean.rates(defend(clean))[0]
    assert after > before - 0.05


def test_prunes_exactly_the_channel_that_remembers_another_mean(badnets: Lab) -> None:
    model = models.duplicate(badnets.model)
    clean = preactivations.moments(model, badnets.clean_set.images)
    with torch.no_grad():
        for name, norm in surgery.batch_norms(model).items():
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.copy_(clean[name].mean)
            norm.running_var.copy_(clean[name].variance)
    # What a norm remembers changes what reaches those behind it, so it is that of the last block.
    norm = surgery.batch_norms(model)["layer3.bn2"]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean[7] += 5 * norm.running_var[7].sqrt()
    tampered = dataclasses.replace(badnets, model=model)
    clean_again = preactivations.moments(model, badnets.clean_set.images)["layer3.bn2"]
    assert BatchNormPruning().divergence(clean_again, norm).argmax() == 7
    assert ("layer3.bn2", 7) in silenced(defend(tampered))
    assert [cut for cut in silenced(defend(tampered)) if cut[0] == "layer3.bn2"] == [
        ("layer3.bn2", 7)
    ]


def test_the_divergence_is_that_of_normal_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, variance, kept_mean, kept = torch.rand(4, 6, generator=generator, dtype=torch.float64)
    norm = nn.BatchNorm2d(6, eps=0).double()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(kept_mean)
    norm.running_var.copy_(kept)
    expected = kl_divergence(Normal(mean, variance.sqrt()), Normal(kept_mean, kept.sqrt()))
    found = BatchNormPruning().divergence(Moments(mean, variance), norm)
    torch.testing.assert_close(found, expected)
    coded = BatchNormPruning(log_weight=1).divergence(Moments(mean, variance), norm)
    torch.testing.assert_close(coded - found, (kept / variance).log() / 2)


def test_a_norm_without_statistics_stays() -> None:
    norm = nn.BatchNorm2d(3, track_running_stats=False)
    clean = Moments(torch.rand(3), torch.rand(3))
    assert BatchNormPruning().divergence(clean, norm).tolist() == [0, 0, 0]


def test_sees_clean_images_as_training_saw_them(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    moments = preactivations.moments

    def spy(model: nn.Module, images: Tensor) -> dict[str, Moments]:
        seen.append(images)
        return moments(model, images)

    monkeypatch.setattr(preactivations, "moments", spy)
    data = badnets.spec.data.model_copy(update={"augmentation": Augmentation(flip=True)})
    defend(dataclasses.replace(badnets, spec=badnets.spec.model_copy(update={"data": data})))
    images = badnets.clean_set.images
    mirrored = (seen[0] == images.flip(3)).flatten(1).all(1)
    assert 0.3 < mirrored.float().mean() < 0.7
    assert torch.equal(seen[0][~mirrored], images[~mirrored])


def test_decides_on_images_it_does_not_measure(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, ImageSet] = {}
    choose, order = masks.choose, BatchNormPruning.order

    def spy_choose(
        model: Classifier, mask: Tensor, held: ImageSet, *args: float, keep_bias: bool
    ) -> float:
        seen["held"] = held
        return choose(model, mask, held, *args, keep_bias=keep_bias)

    def spy_order(self: BatchNormPruning, view: object, clean: ImageSet) -> Tensor:
        seen["measured"] = clean
        return order(self, view, clean)  # type: ignore[arg-type]

    monkeypatch.setattr(masks, "choose", spy_choose)
    monkeypatch.setattr(BatchNormPruning, "order", spy_order)
    defend(badnets, **STRENGTH)
    held, measured = (set(seen[name].ids.tolist()) for name in ("held", "measured"))
    assert held.isdisjoint(measured)
    assert held | measured == set(range(len(badnets.clean_set)))


def test_one_clean_image_is_enough_unless_something_is_to_be_chosen(badnets: Lab) -> None:
    single = dataclasses.replace(badnets, clean_set=badnets.clean_set[torch.arange(1)])
    assert silenced(defend(single))
    with pytest.raises(ParamsError, match="clean_set: 1 image cannot be split"):
        defend(single, u=None)
