import pytest
import torch

from bdb.datasets.augmentation import Augmentation
from bdb.testing import Lab
from bdb.training.loop import Batch


@pytest.fixture
def batch(badnets: Lab) -> Batch:
    """Clean images as a step sees them, not augmented."""
    data = badnets.clean_set[torch.arange(128)]
    return Batch(
        pixels=data.images,
        labels=data.labels,
        ids=data.ids,
        epoch=0,
        augmentation=Augmentation(),
        generator=torch.Generator().manual_seed(0),
    )
