import subprocess
import sys

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


def test_half_precision_is_used_only_where_it_is_fast() -> None:
    cpu = torch.device("cpu")
    with devices.autocast(cpu):
        assert torch.is_autocast_enabled("cpu") == devices.has_fast_bf16(cpu)
