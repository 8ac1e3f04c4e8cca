"""What may be hung into the loop: hooks, changing data, a second stream; and that none is felt."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.datasets.augmentation import Augmentation
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import digits, make_context
from bdb.training import graphs, loop
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

RECIPE = Recipe(epochs=2, batch_size=64, lr=0.05)
CROP = Augmentation(crop_padding=2)
DATA = digits().train[torch.arange(150)]


def fresh() -> Classifier:
    context, _ = make_context()
    spec = ModelSpec(architecture="convnet", fields={"width": 4}, data=context.data)
    return models.build(spec, 0)


def fit(data: loop.Data = DATA, recipe: Recipe = RECIPE, **options: Any) -> Tensor:
    """The weights and statistics that come out."""
    model = fresh()
    loop.fit(model, data, recipe, seed=3, augmentation=CROP, **options)
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


def idle(*_: Any) -> None:
    """A hook that does nothing."""


@pytest.mark.parametrize(
    "options",
    [
        {"before_update": idle, "after_update": idle},
        {"data": lambda _: DATA},
        {"other": DATA},
        {"recipe": RECIPE.model_copy(update={"clip_norm": 1e9})},
    ],
    ids=["hooks", "data", "other", "clip"],
)
def test_what_is_hung_in_leaves_the_bytes_alone(options: dict[str, Any]) -> None:
    assert torch.equal(fit(**options), fit())


def test_hooks_stand_around_the_update() -> None:
    order: list[str] = []
    weights: list[Tensor] = []

    def before(model: nn.Module, batch: Batch, _: torch.optim.Optimizer) -> None:
        order.append(f"before {batch.epoch}")
        assert model.head.weight.grad is not None  # type: ignore[union-attr]
        weights.append(model.head.weight.detach().clone())  # type: ignore[union-attr,operator]

    def after(model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
        order.append(f"after {batch.epoch}")
        assert not torch.equal(model.head.weight, weights[-1])  # type: ignore[union-attr,arg-type]
        assert optimizer.state[model.head.weight]["momentum_buffer"].any()  # type: ignore

    fit(before_update=before, after_update=after)
    assert order == ["before 0", "after 0"] * 2 + ["before 1", "after 1"] * 2


def test_a_hook_may_replace_the_gradients() -> None:
    def ascend_first(model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
        """One step of sharpness-aware minimisation (Foret et al., ICLR 2021)."""
        moves = [(p, 0.01 * p.grad.sign()) for p in model.parameters() if p.grad is not None]
        with torch.no_grad():
            for parameter, move in moves:
                parameter.add_(move)
        optimizer.zero_grad()
        cross_entropy(model(batch.images), batch.labels).backward()
        with torch.no_grad():
            for parameter, move in moves:
                parameter.sub_(move)

    def blind(model: nn.Module, _batch: Batch, _: torch.optim.Optimizer) -> None:
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad.zero_()

    still = RECIPE.model_copy(update={"weight_decay": 0.0})
    head = slice(-10 * 17, None)
    start = torch.cat([t.flatten().float() for t in fresh().state_dict().values()])
    assert torch.equal(fit(recipe=still, before_update=blind)[head], start[head])
    assert not torch.equal(fit(before_update=ascend_first), fit())


def test_gradients_are_clipped_to_the_norm() -> None:
    norms: list[float] = []

    def look(model: nn.Module, _batch: Batch, _: torch.optim.Optimizer) -> None:
        norms.append(float(torch.cat([p.grad.flatten() for p in model.parameters()]).norm()))  # type: ignore[union-attr]

    fit(recipe=RECIPE.model_copy(update={"clip_norm": 0.01}), after_update=look)
    assert norms == pytest.approx([0.01] * 4, rel=1e-3)


def test_amsgrad_reaches_the_optimiser() -> None:
    recipe = Recipe(optimizer="adam", amsgrad=True)
    made = loop.make_optimizer(list(fresh().parameters()), recipe, torch.device("cpu"))
    assert made.defaults["amsgrad"]


def test_data_may_change_while_the_optimiser_stays() -> None:
    sizes = {0: 64, 1: 150, 2: 64}
    asked: list[int] = []
    seen: dict[int, int] = dict.fromkeys(sizes, 0)
    optimizers = set()

    def data(epoch: int) -> Any:
        asked.append(epoch)
        return DATA[torch.arange(sizes[epoch])]

    def count(_: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
        seen[batch.epoch] += len(batch)
        optimizers.add(id(optimizer))

    fit(data, Recipe(epochs=3, batch_size=64, schedule="onecycle"), after_update=count)
    assert seen == sizes
    assert asked == [0, 1, 2]
    assert len(optimizers) == 1


def test_every_batch_has_one_of_the_second_stream() -> None:
    other = digits().test[torch.arange(64)]
    pairs: list[tuple[list[int], list[int]]] = []

    def step(model: nn.Module, batch: Batch) -> Tensor:
        assert batch.other is not None
        assert batch.other.images.shape[1:] == batch.images.shape[1:]
        pairs.append((batch.ids.tolist(), batch.other.ids.tolist()))
        return cross_entropy(model(batch.images), batch.labels)

    fit(DATA, Recipe(epochs=1, batch_size=50), step=step, other=other)
    assert sorted(i for own, _ in pairs for i in own) == DATA.ids.tolist()
    # One batch of 64 is the whole of the second stream, so it comes anew, in another order.
    assert [sorted(theirs) for _, theirs in pairs] == [other.ids.tolist()] * 3
    assert pairs[0][1] != pairs[1][1]


@pytest.mark.parametrize("name", ["before_update", "after_update", "other"])
def test_what_a_graph_would_leave_out_is_not_recorded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    promised: list[int] = []

    def backward(*arguments: Any) -> graphs.Eager:
        promised.append(arguments[-1])
        return graphs.Eager(*arguments[:-1])

    monkeypatch.setattr(graphs, "backward", backward)
    fit()
    fit(**{name: DATA if name == "other" else idle})
    assert promised == [4, 0]
