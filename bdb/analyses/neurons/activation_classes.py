"""Which classes a channel answers to, and whether it answers to the trigger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bdb.analyses import common, matrices
from bdb.analyses.base import AnalysisView, Picture
from bdb.analyses.channels import OfChannels, Responses, top
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

TRIGGERED = -1


@register("activation_classes")
class ActivationClasses(OfChannels):
    """Of the images that most excite a channel, the share of each class and of triggered ones.

    Triggered images are one kind more beside the classes: there are as many of them to choose from
    as of a class, and no more are looked at, so that one kind can fill them. The table has one row
    per `channel`, in the order of what the trigger changes, and `label` (-1: triggered): `count`
    among the channel's top images, their `share`, and the share that is `expected` of a channel
    that tells nothing apart.
    """

    channels: int = Field(20, ge=1, le=64, description="channels shown, those of most change")
    top: int = Field(50, ge=1, le=1000, description="images that most excite a channel")

    def run(self, view: AnalysisView) -> Picture:
        """Count classes, channel by channel.

        Raises:
            ParamsError: the model has no such stage.
        """
        responses = self.responses(view)
        table = self._table(view, responses)
        return Picture(_draw(view, responses, table, self.channels), table)

    def _table(self, view: AnalysisView, responses: Responses) -> pd.DataFrame:
        import pandas as pd

        kinds, answers = self._pool(view, responses)
        size = min(self.top, int((kinds == TRIGGERED).sum()))
        every = torch.arange(TRIGGERED, view.data.num_classes)
        expected = (kinds == every[:, None]).double().mean(1).numpy()
        parts = []
        for channel in responses.most_changed(answers.shape[1]).tolist():
            count = (kinds[top(answers[:, channel], size)] == every[:, None]).sum(1).numpy()
            columns = {"label": every.numpy(), "count": count, "share": count / size}
            part = pd.DataFrame(columns).assign(expected=expected)
            part.insert(0, "channel", channel)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def _pool(self, view: AnalysisView, responses: Responses) -> tuple[Tensor, Tensor]:
        """The images to choose from: what each is, int64, N; and the answers to it, N x C."""
        clean, triggered, _ = responses.choice
        as_many = max(len(clean) // view.data.num_classes, 1)
        some = common.spread(triggered.labels, as_many, view.generator(self.name, "triggered"))
        kinds = torch.cat([torch.full_like(some, TRIGGERED), clean.labels])
        return kinds, torch.cat([responses.triggered[some], responses.clean])


def _draw(view: AnalysisView, responses: Responses, table: pd.DataFrame, channels: int) -> Figure:
    order = table["channel"].unique()[:channels]
    shares = table.pivot(index="channel", columns="label", values="share").loc[order].to_numpy()
    with style.context():
        figure = style.new_figure(7.6, 1.9 + 0.24 * len(shares))
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.2, shares.shape[1] - 1))
        _matrix(left, shares[:, :1], ["triggered"])
        names = [common.class_name(view, label) for label in range(view.data.num_classes)]
        image = _matrix(right, shares[:, 1:], names)
        left.set(
            yticks=range(len(order)), yticklabels=order, ylabel=f"channel of {responses.layer}"
        )
        right.set_xlabel("clean images by class")
        bar = figure.colorbar(image, ax=[left, right], aspect=30, pad=0.02)
        bar.ax.yaxis.set_major_formatter("{x:.0%}")
        bar.outline.set_visible(False)
        style.headline(figure, f"What excites the channels of {view.who}", _note(view, table))
    return figure


def _matrix(axes: Axes, shares: np.ndarray, names: list[str]) -> AxesImage:
    """Draw shares, and write them in percent."""
    percent = np.round(100 * shares).astype(int)
    return matrices.draw(axes, shares, percent, names, aspect="auto")


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    """What is seen, and how many channels answer to the trigger above all."""
    of_trigger = table[table["label"] == TRIGGERED]
    size = table["count"].sum() // len(of_trigger)
    return (
        f"{view.run}: of the {size} images that excite a channel most, how many in a hundred are "
        "of each class or carry the trigger; the channel that this changes most comes first. "
        f"In {(of_trigger['share'] > 0.5).sum()} of all {len(of_trigger)} channels more than half "
        f"carry it; {of_trigger['expected'].iloc[0]:.0%} would where nothing is told apart."
    )
