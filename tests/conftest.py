import pytest
import torch

from bdb.testing import Lab, lab
from bdb.training import device


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors are faster on one thread, and their bytes do not depend on the machine."""
    torch.set_num_threads(1)
    device.pick()


@pytest.fixture(scope="session")
def badnets() -> Lab:
    return lab("badnets")
