"""The seconds that detectors have together, and what stops one that is at it when they are over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from bdb.errors import SuspectError, short
from bdb.models.hooks import hooked

OVER = "the budget was used up"


class OverBudgetError(Exception):
    """The time is up."""


def seconds(text: str) -> float:
    """How long `60s` or `60` is; without a limit it is infinity.

    Raises:
        SuspectError: it is no time.
    """
    if not text:
        return float("inf")
    number = text.removesuffix("s")
    if not number.replace(".", "", 1).isdigit() or not number.isascii():
        raise SuspectError(f"--budget {short(text)} is no number of seconds, as 60s is")
    return float(number)


@contextmanager
def until(end: float, model: nn.Module) -> Iterator[None]:
    """Stop whoever asks the model after the end, by `time.monotonic`.

    Raises:
        OverBudgetError: that is so.
    """

    def watch(_module: nn.Module, _args: Any) -> None:
        if time.monotonic() > end:
            raise OverBudgetError(OVER)

    with hooked([model.register_forward_pre_hook(watch)]):
        yield
