"""Import torchvision also where its compiled operators do not load.

PyPI's torchvision is built for CUDA; beside a CPU build of torch its operators stay out, and the
import stops with "operator torchvision::nms does not exist", because it registers shapes for two
operators without looking whether they are there. We need its readers and its networks, none of
which call them: it is enough that the two are declared.

    from bdb.torchvision_ops import load
    torchvision = load()

Afterwards a plain `import torchvision` works in this process, in other packages too.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType
from typing import Any

import torch

_MISSING = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def load() -> ModuleType:
    """Import torchvision; the operators are declared only if the import fails for want of them."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare()
    return importlib.import_module("torchvision")


@cache
def _declare() -> Any:
    """Declare the operators without an implementation, for as long as the process lives."""
    # The cache keeps the library alive: torch forgets its declarations when it is collected.
    library = torch.library.Library("torchvision", "DEF")
    for name in _MISSING:
        library.define(name + _SCHEMA)
    return library
