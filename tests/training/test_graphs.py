from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from bdb.datasets.augmentation import Augmentation
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import digits, make_context
from bdb.training import graphs, loop, seeds
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

GPU = torch.device("cuda")
RECIPE = Recipe(epochs=3, batch_size=64, lr=0.05)
CROP = Augmentation(crop_padding=2, flip=True)


def fresh() -> Classifier:
    context, _ = make_context()
    return models.build(ModelSpec(architecture="convnet", data=context.data), 0)


def chosen(step: loop.Step, model: nn.Module, steps: int = 1000, device: Any = GPU) -> type:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return type(graphs.backward(step, model, optimizer, device, steps))


def test_a_gpu_gets_recordable_steps_as_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh()
    assert chosen(loop.cross_entropy, model) is graphs.Recorded
    assert chosen(loop.cross_entropy, model, device=torch.device("cpu")) is graphs.Eager
    assert chosen(lambda _, batch: batch.raw.sum(), model) is graphs.Eager
    assert chosen(loop.cross_entropy, model, steps=graphs.WORTHWHILE - 1) is graphs.Eager
    monkeypatch.setenv(graphs.SWITCH, "0")
    assert chosen(loop.cross_entropy, model) is graphs.Eager


def test_a_model_with_hooks_is_not_recorded() -> None:
    model = fresh()
    hook = model.get_submodule("layer1").register_forward_hook(lambda *_: None)
    assert chosen(loop.cross_entropy, model) is graphs.Eager
    hook.remove()
    assert chosen(loop.cross_entropy, model) is graphs.Recorded


class FakeGraph:
    """Replays by computing again, and writes its results where the recorded ones lie."""

    taken: Any = None

    def replay(self) -> None:
        eager, batch, loss, gradients = self.taken
        loss.copy_(eager(replace(batch)))
        for parameter, gradient in gradients:
            gradient.copy_(parameter.grad)


class Fake(graphs.Recorded):
    """Records without a GPU."""

    def _record(self, batch: Batch) -> graphs.Recording:
        with graphs._buffers_kept(self.eager.model):  # a real graph does nothing while recorded
            made = super()._record(batch)
        made.graph.taken = (self.eager, made.batch, made.loss, made.gradients)  # type: ignore
        return made


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def wait_stream(self, other: Any) -> None: ...

    @contextmanager
    def nothing(_: Any) -> Any:
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", nothing)
    monkeypatch.setattr(torch.cuda, "stream", nothing)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)


def trained(monkeypatch: pytest.MonkeyPatch, kind: type) -> tuple[torch.Tensor, list[float]]:
    def backward(*arguments: Any) -> Any:
        eager = graphs.Eager(*arguments[:-1])
        return eager if kind is graphs.Eager else kind(eager)

    monkeypatch.setattr(graphs, "backward", backward)
    model, data = fresh(), digits().train[torch.arange(203)]  # batches of 68 and 67
    history = loop.fit(model, data, RECIPE, seed=0, augmentation=CROP)
    weights = torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])
    return weights, [record.loss for record in history]


@pytest.mark.usefixtures("without_gpu")
def test_a_recorded_step_trains_as_an_eager_one(monkeypatch: pytest.MonkeyPatch) -> None:
    one, losses = trained(monkeypatch, graphs.Eager)
    other, others = trained(monkeypatch, Fake)
    assert losses == pytest.approx(others, abs=1e-5)
    assert torch.allclose(one, other, atol=1e-5)


def test_an_augmented_batch_draws_no_more() -> None:
    data, draws = digits().train[torch.arange(16)], seeds.generator(0)
    batches = loop.Batches(data, RECIPE, CROP, draws)
    (batch,) = batches.epoch(0)
    ready = batch.augmented()
    state = draws.get_state()
    images = ready.images
    assert torch.equal(images, loop.to_float(ready.pixels))
    assert torch.equal(draws.get_state(), state)
