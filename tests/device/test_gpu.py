"""What only a real GPU shows: graphs, precision, and that the host is not waited for."""

from collections.abc import Iterator

import pytest
import torch

from bdb.datasets.augmentation import Augmentation
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import digits, make_context
from bdb.training import device as devices
from bdb.training import graphs, inference, loop, seeds
from bdb.training.recipes import Recipe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")

RECIPE = Recipe(epochs=10, batch_size=64, lr=0.05, schedule="onecycle")
CROP = Augmentation(crop_padding=2)


@pytest.fixture
def model() -> Iterator[Classifier]:
    context, _ = make_context()
    model = models.build(ModelSpec(architecture="convnet", data=context.data), 0)
    devices.place(model, torch.device("cuda"))
    yield model
    torch.cuda.synchronize()


def test_recorded_and_eager_training_end_alike(
    model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin, test = models.duplicate(model), digits().test
    recorded = loop.fit(model, digits().train, RECIPE, seed=0, augmentation=CROP)
    monkeypatch.setenv(graphs.SWITCH, "0")
    eager = loop.fit(twin, digits().train, RECIPE, seed=0, augmentation=CROP)
    assert recorded[0].loss == pytest.approx(eager[0].loss, rel=0.02)
    for each in (model, twin):
        assert inference.accuracy(each, test.images, test.labels) > 0.95


def test_recording_leaves_the_batch_statistics_alone(model: Classifier) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    draws = seeds.generator(0, device="cuda")
    batches = loop.Batches(digits().train.to("cuda"), RECIPE, CROP, draws)
    model.train()
    backward = graphs.backward(loop.cross_entropy, model, optimizer, draws.device, 1000)
    backward(next(batches.epoch(0)))
    counts = [b for name, b in model.named_buffers() if name.endswith("num_batches_tracked")]
    assert [int(count) for count in counts] == [1] * len(counts)


def test_nothing_waits_for_the_host_within_an_epoch(model: Classifier) -> None:
    optimizer = loop.make_optimizer(list(model.parameters()), RECIPE, torch.device("cuda"))
    draws = seeds.generator(0, device="cuda")
    batches = loop.Batches(digits().train.to("cuda"), RECIPE, CROP, draws)
    backward = graphs.backward(loop.cross_entropy, model, optimizer, draws.device, 1000)
    for batch in batches.epoch(0):
        backward(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches.epoch(1):
            backward(batch)
            optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
