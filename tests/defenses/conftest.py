from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bdb.datasets.base import ImageSet
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import Lab, make_context
from bdb.training.loop import Batch


@pytest.fixture
def batch(badnets: Lab, as_batch: Callable[..., Batch]) -> Batch:
    """Clean images as a step sees them."""
    return as_batch(badnets.clean_set[torch.arange(128)])


class Watched(nn.Module):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10))

    def forward(self, images: Tensor) -> Tensor:
        self.shown = images
        return self.scale.expand(len(images), -1)


@pytest.fixture
def watched() -> Watched:
    """A network whose `shown` are the images that it saw last."""
    return Watched()


class FirstRow(Classifier):
    """Its features are the pixels of the first channel's first row."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec.data)
        self.spec = spec
        self.head = nn.Linear(spec.data.shape[2], spec.data.num_classes)

    def features(self, images: Tensor) -> Tensor:
        return images[:, 0, 0]


@pytest.fixture
def first_row() -> Classifier:
    """A network whose features a test can set, by `batch_of`."""
    torch.manual_seed(0)
    return FirstRow(ModelSpec(architecture="convnet", data=make_context(size=1)[0].data))


@pytest.fixture
def batch_of(as_batch: Callable[..., Batch]) -> Callable[..., Batch]:
    """Makes a batch whose first rows are given."""

    def make(rows: Tensor, labels: Tensor, epoch: int = 0) -> Batch:
        images = torch.zeros(len(rows), 3, 32, 32)
        images[:, 0, 0, : rows.shape[1]] = rows
        given = ImageSet((images * 255).to(torch.uint8), labels, torch.arange(len(rows)))
        return as_batch(given, epoch=epoch)

    return make
