import torch
from torch import Tensor, nn

from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.testing import lab, make_context
from bdb.training import adversarial, loop, seeds
from bdb.training.recipes import Recipe

EPS, STEPS = 16, 5


def robust_accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    start = 2 * torch.rand(images.shape, generator=seeds.generator(0)) - 1
    worst = adversarial.search(model, images, labels, EPS / 255, STEPS, start)
    with torch.no_grad():
        return float((model(worst).argmax(1) == labels).float().mean())


def test_adversarial_training_makes_a_model_robust() -> None:
    context, _ = make_context(recipe=Recipe(epochs=6, batch_size=64, lr=0.05))
    test = lab("none", 0.0).test
    images, labels = loop.to_float(test.images), test.labels
    accuracies = []
    for step in (loop.cross_entropy, adversarial.step(EPS, STEPS)):
        model = models.build(ModelSpec(architecture="convnet", data=context.data), seed=0)
        loop.fit(model, context.train, context.recipe, seed=0, step=step)
        accuracies.append(robust_accuracy(model, images, labels))
    plain, robust = accuracies
    assert robust > plain + 0.1


def test_the_search_stays_in_the_ball_and_leaves_the_model_alone() -> None:
    victim = lab("none", 0.0)
    model, images = models.duplicate(victim.model), loop.to_float(victim.test.images[:32])
    model.zero_grad()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    worst = adversarial.search(
        model, images, victim.test.labels[:32], 0.1, 3, torch.ones_like(images)
    )
    assert model.training
    assert float((worst - images).abs().max()) <= 0.1 + 1e-6
    assert float(worst.min()) >= 0
    assert float(worst.max()) <= 1
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_at_rest_keeps_its_statistics_and_comes_back_in_its_mode() -> None:
    norm = nn.BatchNorm1d(2)
    model = nn.Sequential(norm, nn.Dropout().eval())
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    with adversarial.at_rest(model):
        model(torch.ones(4, 2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())
    assert [part.training for part in (model, *model)] == [True, True, False]
