"""Hooks on modules that are gone when a block ends, however it ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch.utils.hooks import RemovableHandle


@contextmanager
def hooked(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Register hooks, by taking them from what registers them; and remove them at the end."""
    registered: list[RemovableHandle] = []
    try:
        registered.extend(hooks)
        yield
    finally:
        for hook in registered:
            hook.remove()
