"""How fast steps come: the pace of a loop, from some seconds of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from statistics import median
from typing import Any

from common import REPEATS

WARM_UP_STEPS = 5


@dataclass(frozen=True)
class Pace:
    """How fast steps come.

    Attributes:
        warm_up: seconds of the first steps, which count nowhere else.
        warmed: images in them.
        rates: images/s of equal parts of the steps after them.
    """

    warm_up: float
    warmed: int
    rates: list[float]

    @property
    def rate(self) -> float:
        """Images/s."""
        return median(self.rates)

    @property
    def start_up(self) -> float:
        """Seconds of the warm-up beyond what its images take later."""
        return max(0.0, self.warm_up - self.warmed / self.rate)


def pace(steps: Iterable[int], seconds: float, warm_up: int = WARM_UP_STEPS) -> Pace:
    """Take steps, each of which gives its number of images, for about so many seconds."""
    start = time.perf_counter()
    endless = iter(steps)
    warmed = sum(islice(endless, warm_up))
    begin = time.perf_counter()
    marks = [(begin, 0)]
    for images in endless:
        marks.append((time.perf_counter(), images))
        if len(marks) > REPEATS and marks[-1][0] - begin > seconds:
            break
    return Pace(begin - start, warmed, _rates(marks))


def _rates(marks: list[tuple[float, int]]) -> list[float]:
    """Images/s of equal parts of a list of (time, images since the mark before)."""
    edges = [round(part * (len(marks) - 1) / REPEATS) for part in range(REPEATS + 1)]
    return [
        sum(images for _, images in marks[first + 1 : last + 1])
        / (marks[last][0] - marks[first][0])
        for first, last in pairwise(edges)
    ]


def endless(epoch: Any) -> Iterator[int]:
    """The steps of epoch after epoch; `epoch` starts one."""
    return chain.from_iterable(iter(epoch, None))
