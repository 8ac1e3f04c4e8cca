import platform
import subprocess
import sys

import pytest
import torch

from bdb.training import device as devices

# Products of these are denormal: nothing where they are flushed.
PROGRAM = """
import torch
from bdb.training import device
torch.set_num_threads(2)
device.pick()
big, small = torch.full((2000, 2000), 1e-20), torch.full((2000, 2000), 1e-21)
print(int((big * small).count_nonzero()), int((big @ small).count_nonzero()))
"""


def test_denormals_are_flushed_in_every_thread() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["0", "0"], done.stderr


AGAIN = """
import resource, sys, torch
from bdb.training import device
if sys.argv[1] == "kept":
    device.pick()
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1024, 64, 32, 16)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library frees by itself")
def test_a_batch_takes_the_memory_of_the_one_before() -> None:
    """As pages, of which a batch of 128 MB has 32,768, or 64 large ones; but not from the first."""
    faults = {}
    for way in ("kept", "given back"):
        done = subprocess.run(
            [sys.executable, "-c", AGAIN, way], capture_output=True, text=True, check=True
        )
        faults[way] = int(done.stdout)
    assert faults["kept"] < 10 < 60 < faults["given back"]


def test_half_precision_is_used_only_where_it_is_fast() -> None:
    cpu = torch.device("cpu")
    with devices.autocast(cpu):
        assert torch.is_autocast_enabled("cpu") == devices.has_fast_bf16(cpu)
