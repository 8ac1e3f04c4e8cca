"""FTrojan: a middle and a high frequency of the colours, under the target's label."""

from __future__ import annotations

from typing import ClassVar

from bdb.attacks.frequency import RaisedFrequencies
from bdb.method import Paper
from bdb.registry import register


@register("ftrojan")
class FTrojan(RaisedFrequencies):
    """Two faint waves in the colours, one of a middle and one of the highest frequency.

    Differs: the reference lets pixels wrap around where they leave the range; ours are clamped.
    """

    paper: ClassVar[Paper] = Paper(
        title="An Invisible Black-Box Backdoor Attack Through Frequency Domain",
        authors="Wang, Yao, Xu, An, Tong, Wang",
        venue="ECCV",
        year=2022,
        url="https://arxiv.org/abs/2111.10991",
    )
