"""What the recipe `airbench` adds to the loop: a rate, a schedule, averaged weights."""

import pytest
import torch
from torch import nn

from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import digits, make_context
from bdb.training import inference, loop
from bdb.training.averaging import Lookahead
from bdb.training.recipes import RECIPES, Recipe


def model(architecture: str = "convnet", **fields: object) -> Classifier:
    context, _ = make_context()
    spec = ModelSpec(architecture=architecture, fields=fields, data=context.data)
    return models.build(spec, seed=0)


def data(count: int) -> ImageSet:
    return digits().train[torch.arange(count)]


def test_averaged_weights_are_those_of_the_formula() -> None:
    layer = nn.Linear(1, 1, bias=False)
    average = 0.0
    nn.init.constant_(layer.weight, 0.0)
    lookahead = Lookahead(layer, steps=12)
    for step in range(1, 13):
        with torch.no_grad():
            layer.weight += 1.0
        before = layer.weight.item()
        lookahead.after_step()
        if step in (5, 10):
            decay = 0.95**5 * (step / 12) ** 3
            average = decay * average + (1 - decay) * before
            assert layer.weight.item() == pytest.approx(average)
        elif step < 12:
            assert layer.weight.item() == before
    assert layer.weight.item() == pytest.approx(average)  # The last step leaves the average.


def test_statistics_are_averaged_and_counts_are_not() -> None:
    norm = nn.BatchNorm2d(2)
    lookahead = Lookahead(norm, steps=10)
    norm.running_mean.fill_(1.0)  # type: ignore[union-attr]
    norm.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    for _ in range(5):
        lookahead.after_step()
    expected = 1 - 0.95**5 / 8
    assert norm.running_mean.tolist() == pytest.approx([expected] * 2)  # type: ignore[union-attr]
    assert int(norm.num_batches_tracked) == 7  # type: ignore[arg-type]


def test_the_rate_goes_up_and_then_down_to_nearly_nothing() -> None:
    recipe = Recipe(epochs=100, batch_size=64, lr=2.0, schedule="triangular", momentum=0.0)
    rates = [record.lr for record in loop.fit(model(width=1), data(64), recipe, seed=0)]
    assert rates[0] == pytest.approx(2 * 0.2)
    assert max(rates) == rates[23] == pytest.approx(2.0)
    assert rates[-1] == pytest.approx(2 * (0.07 + 0.93 * 0.01 / 0.77))


def test_only_the_norms_biases_have_a_rate_of_their_own() -> None:
    """One step without decay moves each weight by its rate times its gradient."""
    moved = []
    for factor in (1.0, 4.0):
        net = model()
        recipe = Recipe(
            epochs=1, batch_size=64, lr=0.01, momentum=0, weight_decay=0, schedule="constant",
            norm_bias_lr=factor,
        )  # fmt: skip
        before = {name: weight.clone() for name, weight in net.named_parameters()}
        loop.fit(net, data(64), recipe, seed=0)
        moved.append({name: w.detach() - before[name] for name, w in net.named_parameters()})
    norms = {name for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    biases = {f"{name}.bias" for name in norms}
    assert biases <= moved[0].keys()
    for name, change in moved[0].items():
        factor = 4.0 if name in biases else 1.0
        assert torch.allclose(moved[1][name], factor * change, rtol=1e-3, atol=1e-7), name


def test_the_recipe_changes_the_data_sets_augmentation() -> None:
    of_data = Augmentation(crop_padding=4, flip=True)
    none = torch.Generator()
    batches = loop.Batches(data(8), RECIPES["airbench"], of_data, none)
    assert batches.augmentation == Augmentation(
        crop_padding=2, crop_border="reflected", flip=True, alternate=True
    )
    assert loop.Batches(data(8), RECIPES["paper"], of_data, none).augmentation == of_data
    assert loop.Batches(data(8), RECIPES["airbench"], None, none).augmentation == Augmentation()


def test_a_small_airbench_learns_digits_and_whitens_first() -> None:
    net = model("airbench94", width_factor=0.125)
    recipe = RECIPES["airbench"].model_copy(update={"batch_size": 128, "lr": 0.2, "epochs": 6})
    loop.fit(net, digits().train, recipe, seed=0, augmentation=Augmentation(crop_padding=2))
    assert bool(net.get_buffer("calibrated"))
    test = digits().test
    assert inference.accuracy(net, test.images, test.labels) > 0.95
