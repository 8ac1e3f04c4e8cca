"""The standard library's module `bdb`, which this package stands in front of."""

import importlib.util
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import ModuleType


@cache
def module() -> ModuleType:
    """Load the standard library's `bdb` from its own file, once."""
    path = Path(sysconfig.get_path("stdlib")) / "bdb.py"
    spec = importlib.util.spec_from_file_location("_stdlib_bdb", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: the standard library's debugger is not there")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["_stdlib_bdb"] = loaded
    spec.loader.exec_module(loaded)
    return loaded
