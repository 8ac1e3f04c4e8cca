import pytest
import torch

from bdb.datasets.augmentation import Augmentation
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import digits, make_context
from bdb.training import loop
from bdb.training.loop import Batch
from bdb.training.recipes import RECIPES, Recipe, resolve

RECIPE = Recipe(epochs=2, batch_size=64, lr=0.05)


def fresh(seed: int = 0) -> Classifier:
    context, _ = make_context()
    return models.build(ModelSpec(architecture="convnet", data=context.data), seed)


def weights(model: Classifier) -> torch.Tensor:
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


def test_same_seed_same_bytes_and_another_seed_others() -> None:
    data = digits().train[torch.arange(300)]
    trained = []
    for seed in (1, 1, 2):
        model = fresh()
        loop.fit(model, data, RECIPE, seed=seed, augmentation=Augmentation(crop_padding=2))
        trained.append(weights(model))
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


def test_global_randomness_is_left_alone() -> None:
    state = torch.get_rng_state()
    loop.fit(fresh(), digits().train[torch.arange(100)], RECIPE, seed=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_hold_every_sample_once_and_none_is_tiny() -> None:
    data = digits().train[torch.arange(130)]
    batches = loop.Batches(data, RECIPE, None, torch.Generator().manual_seed(0))
    sizes, ids = [], []
    for batch in batches.epoch(0):
        sizes.append(len(batch))
        ids.append(batch.ids)
        assert batch.raw.max() <= 1
        assert torch.equal(data.labels[batch.ids], batch.labels)
    assert sorted(torch.cat(ids).tolist()) == list(range(130))
    assert sizes == [65, 65]


@pytest.mark.parametrize("count", [2, 3, 7, 11])
def test_no_batch_is_a_single_image(count: int) -> None:
    data = digits().train[torch.arange(count)]
    recipe = Recipe(epochs=1, batch_size=2)
    batches = loop.Batches(data, recipe, None, torch.Generator().manual_seed(0))
    assert min(len(batch) for batch in batches.epoch(0)) >= 2


def test_a_single_image_is_trained_on_with_the_statistics_as_they_are() -> None:
    model, untouched = fresh(), fresh().state_dict()
    loop.fit(model, digits().train[torch.arange(1)], RECIPE, seed=0)
    for name, tensor in model.state_dict().items():
        assert tensor.isfinite().all()
        kept = name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        assert not kept or torch.equal(tensor, untouched[name]), name
    assert not torch.equal(model.head.bias, untouched["head.bias"])


def test_a_step_replaces_the_loss_and_an_epoch_can_be_the_last() -> None:
    seen: list[int] = []

    def step(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        seen.append(batch.epoch)
        return model(batch.images).square().mean()

    records = loop.fit(
        fresh(),
        digits().train[torch.arange(64)],
        Recipe(epochs=5, batch_size=64),
        seed=0,
        step=step,
        epoch_end=lambda epoch, _: epoch == 2,
    )
    assert seen == [0, 1, 2]
    assert [record.epoch for record in records] == [0, 1, 2]


def test_only_the_named_parameters_are_trained() -> None:
    model = fresh()
    before = weights(model)
    stem = model.get_submodule("stem")[0].weight.clone()  # type: ignore[index]
    loop.fit(
        model,
        digits().train[torch.arange(64)],
        RECIPE,
        seed=0,
        parameters=model.head.parameters(),
        train_mode=False,
    )
    assert torch.equal(model.get_submodule("stem")[0].weight, stem)  # type: ignore[index]
    changed = (weights(model) != before).sum()
    assert 0 < int(changed) <= model.head.weight.numel() + model.head.bias.numel()


@pytest.mark.parametrize("name", ["constant", "cosine", "onecycle"])
def test_schedules(name: str) -> None:
    recipe = Recipe(epochs=4, batch_size=64, lr=0.1, schedule=name)  # type: ignore[arg-type]
    records = loop.fit(fresh(), digits().train[torch.arange(128)], recipe, seed=0)
    rates = [record.lr for record in records]
    if name == "constant":
        assert rates == [0.1] * 4
    elif name == "cosine":
        assert rates[0] == 0.1
        assert rates == sorted(rates, reverse=True)
    else:
        assert rates[0] < max(rates) <= 0.1


def test_the_paper_recipe_is_the_published_one() -> None:
    paper = RECIPES["paper"]
    assert (paper.epochs, paper.batch_size, paper.lr) == (100, 128, 0.01)
    assert (paper.momentum, paper.weight_decay, paper.schedule) == (0.9, 5e-4, "cosine")


def test_a_user_overrules_the_data_set_and_that_the_recipe() -> None:
    recipe = resolve("paper", {"epochs": 3}, {"paper": {"epochs": 50, "lr": 0.5}})
    assert (recipe.epochs, recipe.lr, recipe.batch_size) == (3, 0.5, 128)


def test_pixels_round_trip() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(loop.to_bytes(loop.to_float(levels)), levels)
    assert loop.to_bytes(torch.tensor([[[[-0.2, 1.7]]]])).flatten().tolist() == [0, 255]
