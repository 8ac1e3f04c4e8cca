"""Which device a job computes on, and in which precision that device is fastest."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from bdb.errors import ParamsError
from bdb.training import leases
from bdb.training.wide import SideBySide

# Of glibc's malloc.h; nothing else knows them.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def pick() -> torch.device:
    """The device named by BDB_DEVICE, else a GPU if there is one, else the CPU.

    Raises:
        ParamsError: BDB_DEVICE, or BDB_JOBS_PER_GPU, is not what it should be.
    """
    if torch.backends.cuda.is_built():
        leases.take()
    wanted = os.environ.get("BDB_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ParamsError(f"BDB_DEVICE={wanted!r} is not a device; cpu, cuda or cuda:1") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ParamsError(f"BDB_DEVICE={wanted!r}, but torch sees no GPU; use cpu")
    # Denormals appear late in training and slow a CPU many times over. It must be said before torch
    # starts its threads, which take it over from the thread that starts them.
    torch.set_flush_denormal(True)
    if device.type == "cpu":
        keep_freed_memory()
    # Batches have one or two sizes, so the search for the fastest convolution soon pays.
    torch.backends.cudnn.benchmark = True
    return device


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, where it is glibc: the next batch takes it over.

    What is given back to the system comes again page by page, each filled with zeros: of large
    batches on a CPU that is an eighth of the time of training, and a third of that of inference.
    The first few leave splinters between them, and are not taken over.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def name(device: torch.device) -> str:
    """What the device is called, for provenance."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 has units of its own here: tensor cores, AMX or AVX-512 BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    # Private in torch, and missing from some builds; without them we only lose speed.
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)


def has_tiles(device: torch.device) -> bool:
    """Whether this is a CPU that multiplies whole tiles of matrices (AMX)."""
    probe = getattr(torch.cpu, "_is_amx_tile_supported", bool)
    return device.type == "cpu" and bool(probe())


@contextmanager
def autocast(device: torch.device) -> Iterator[None]:
    """Mixed precision where it is faster, and small maps convolved as such a CPU likes it best."""
    layout = SideBySide() if has_tiles(device) else nullcontext()
    with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bf16(device)), layout:
        yield


def place(model: nn.Module, device: torch.device) -> None:
    """Move a model to the device, in the memory layout that convolutions like best there."""
    model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def peak_memory_mb(device: torch.device) -> float:
    """The job's peak memory: of the GPU where one is used, else of the process (in MiB)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB elsewhere
