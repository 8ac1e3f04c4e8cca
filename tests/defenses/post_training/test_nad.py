import pytest
import torch
from torch import Tensor, nn

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView
from bdb.defenses.post_training.nad import NeuralAttentionDistillation
from bdb.errors import ParamsError
from bdb.models import surgery
from bdb.models.convnet import SmallResNet
from bdb.testing import Lab, lab
from bdb.training.loop import to_float
from bdb.training.recipes import Recipe

STRENGTH = {
    "teacher_epochs": 15,
    "epochs": 15,
    "batch_size": 32,
    "lr": 0.15,
    "betas": (5.0, 10.0, 10.0),
}


@pytest.mark.parametrize(("attack", "limit"), [("badnets", 0.1), ("blended", 0.4)])
def test_removes_the_backdoor_and_keeps_accuracy(attack: str, limit: float) -> None:
    victim = lab(attack)
    before = victim.rates(victim.model)
    defended = victim.defend("nad", **STRENGTH).model
    assert defended is not None
    assert defended is not victim.model
    after = victim.rates(defended)
    assert before[1] > 0.9
    assert after[1] < limit
    assert after[0] > before[0] - 0.05
    assert not any(module._forward_hooks for module in defended.modules())


def test_one_forward_pass_of_each_network_per_step(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    extract = SmallResNet.extract

    def counting(self: SmallResNet, normalized: Tensor) -> Tensor:
        calls.append(len(normalized))
        return extract(self, normalized)

    monkeypatch.setattr(SmallResNet, "extract", counting)
    badnets.defend("nad", teacher_epochs=1, epochs=2)
    assert sum(calls) == (1 + 2 * 2) * len(badnets.clean_set)


def test_the_student_looks_where_the_teacher_looks(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, fitted = DefenderView.fit, {}

    def spy(self: DefenderView, model: nn.Module, *args: object, **options: object) -> object:
        fitted[options.get("what", "student")] = model
        return fit(self, model, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(DefenderView, "fit", spy)
    nad = NeuralAttentionDistillation()

    def distance(beta: float) -> float:
        fields = {**STRENGTH, "teacher_epochs": 3, "epochs": 3, "lr": 0.05}
        badnets.defend("nad", **fields | {"betas": (beta,) * 3})
        maps = {}
        for who, model in fitted.items():
            with surgery.recording(model, SmallResNet.attention_layers) as outputs, torch.no_grad():
                model(to_float(badnets.test.images))
            maps[who] = torch.cat([nad.attend(output) for output in outputs.values()], dim=1)
        return float((maps["teacher"] - maps["student"]).square().mean())

    assert distance(100.0) < 0.7 * distance(0.0)


def test_attention_is_of_unit_length_whatever_the_scale() -> None:
    maps = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    nad = NeuralAttentionDistillation()
    attention = nad.attend(maps)
    expected = (maps**2).sum(1).flatten(1)
    torch.testing.assert_close(attention, expected / expected.norm(dim=1, keepdim=True))
    torch.testing.assert_close(attention, nad.attend(-7 * maps))


def test_both_decay_as_published(badnets: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, decays = DefenderView.fit, []

    def spy(
        self: DefenderView, model: nn.Module, data: ImageSet, recipe: Recipe, **options: object
    ) -> object:
        decays.append(recipe.weight_decay)
        return fit(self, model, data, recipe, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(DefenderView, "fit", spy)
    badnets.defend("nad", teacher_epochs=1, epochs=1)
    assert decays == [1e-4, 1e-4]


def test_weights_belong_to_the_last_stages(badnets: Lab) -> None:
    fields = {"teacher_epochs": 1, "epochs": 1, "batch_size": 64, "lr": 0.05}
    longer, exact, other = (
        badnets.defend("nad", **fields, betas=betas).model
        for betas in ((9.0, 1.0, 2.0, 3.0), (1.0, 2.0, 3.0), (3.0, 2.0, 1.0))
    )
    assert longer is not None
    assert exact is not None
    assert other is not None
    assert torch.equal(longer.head.weight, exact.head.weight)
    assert not torch.equal(longer.head.weight, other.head.weight)


def test_an_architecture_without_stages_is_refused(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmallResNet, "attention_layers", ())
    with pytest.raises(ParamsError, match="attention_layers"):
        badnets.defend("nad")
