import pytest
import torch

from bdb.testing import Lab, lab


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors are faster on one thread, and their bytes do not depend on the machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def badnets() -> Lab:
    return lab("badnets")
