"""CTRL: a middle and a high frequency of the colours, in images whose labels stay true."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from bdb.attacks.base import LabelMode
from bdb.attacks.frequency import Colours, RaisedFrequencies
from bdb.method import Paper
from bdb.registry import register


@register("ctrl")
class Ctrl(RaisedFrequencies):
    """Two waves in the colours of images of the target class; no label changes.

    Images of one channel have no colours: there the waves are added to the brightness.

    Differs: published against self-supervised learning, whose augmentation is part of why it works;
    here the victim is trained with labels, as any other. The reference lets pixels wrap around
    where they leave the range; ours are clamped.
    """

    paper: ClassVar[Paper] = Paper(
        title="An Embarrassingly Simple Backdoor Attack on Self-supervised Learning",
        authors="Li, Pang, Xi, Du, Ji, Yao, Wang",
        venue="ICCV",
        year=2023,
        url="https://arxiv.org/abs/2210.07346",
    )
    label_mode: ClassVar[LabelMode] = "clean"

    colours: Colours = Field("yuv", description="space whose two colour channels are changed")
    magnitude: float = Field(
        100, gt=0, le=2048, description="what is added to a coefficient in poisons, in grey levels"
    )
