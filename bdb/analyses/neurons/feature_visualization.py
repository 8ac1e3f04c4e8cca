"""What a channel that the trigger moves would like best to see."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from torch import Tensor

from bdb.analyses import ascent, channels, common
from bdb.analyses.base import AnalysisView, Picture
from bdb.analyses.channels import OfChannels, Responses
from bdb.method import Paper
from bdb.registry import register
from bdb.report import style
from bdb.training import inference
from bdb.training.loop import to_float

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@register("feature_visualization")
class FeatureVisualization(OfChannels):
    """Images made to excite the channels that the trigger moves furthest, by gradient ascent.

    They begin as the mean clean test image under faint noise, are shifted a little in every step
    (jitter), are kept smooth by their total variation, and are made of waves, of which long ones
    grow faster. The table has one row per `channel`: the `activation` by the image that was made,
    what the channel answers to test images (`clean_mean`, `clean_max`, `triggered_mean`), and the
    class that the model gives the image, `predicted`, with its `confidence`.
    """

    paper: ClassVar[Paper] = Paper(
        title="Feature Visualization",
        authors="Olah, Mordvintsev, Schubert",
        venue="Distill",
        year=2017,
        url="https://distill.pub/2017/feature-visualization",
    )

    samples: int = Field(500, ge=10, le=20_000, description="clean test images, of every class")
    channels: int = Field(6, ge=1, le=16, description="channels shown, by what the trigger changes")
    steps: int = Field(200, ge=1, le=5000, description="of ascent")
    lr: float = Field(0.05, gt=0, le=10, description="of Adam, on the images' log-odds")
    jitter: int = Field(2, ge=0, le=64, description="pixels that a step shifts by, at most")
    smoothness: float = Field(1.0, ge=0, le=1000, description="weight of the total variation")

    def run(self, view: AnalysisView) -> Picture:
        """Make an image for each channel.

        Raises:
            ParamsError: the model has no such stage.
        """
        chosen = (responses := self.responses(view)).most_changed(self.channels)
        layer = channels.layer_of(view.model, self.stage, self.name)
        start, columns = to_float(responses.choice.clean.images).mean(0), chosen.to(view.device)
        made = ascent.ascend(
            lambda images: channels.answer(view, layer, images).gather(1, columns[:, None]),
            start.to(view.device).expand(len(chosen), *start.shape),
            view.generator(self.name, "ascend"),
            **self.model_dump(include={"steps", "lr", "jitter", "smoothness"}),
        )
        table = _table(view, responses, chosen, made, channels.respond(view, layer, made))
        return Picture(_draw(view, responses, table, made), table)


def _table(
    view: AnalysisView, responses: Responses, chosen: Tensor, made: Tensor, answers: Tensor
) -> pd.DataFrame:
    import pandas as pd

    confidence, predicted = inference.logits(view.model, made).softmax(1).max(1)
    columns = {
        "channel": chosen,
        "activation": answers.gather(1, chosen[:, None])[:, 0].double(),
        "clean_mean": responses.clean[:, chosen].double().mean(0),
        "clean_max": responses.clean[:, chosen].double().amax(0),
        "triggered_mean": responses.triggered[:, chosen].double().mean(0),
        "predicted": predicted,
        "confidence": confidence.double(),
    }
    return pd.DataFrame({name: column.numpy() for name, column in columns.items()})


def _draw(view: AnalysisView, responses: Responses, table: pd.DataFrame, made: Tensor) -> Figure:
    targets = responses.choice.triggered.targets.tolist()
    with style.context():
        figure = style.new_figure(1.0 + 1.2 * len(made), 4.1)
        above, below = figure.subplots(2, len(made), squeeze=False)
        for at, channel in enumerate(table["channel"].tolist()):
            best = int(responses.clean[:, channel].argmax())
            _show(above[at], made[at], table["activation"][at])
            _show(below[at], responses.choice.clean.images[best], table["clean_max"][at])
            predicted = int(table["predicted"][at])
            said = f"channel {channel}\n→ {common.class_name(view, predicted)}"
            above[at].set_title(said, color=style.VERMILION if predicted in targets else style.INK)
        above[0].set_ylabel("made")
        below[0].set_ylabel("best clean image")
        title = f"What would excite the channels of {view.who} that the trigger moves"
        style.headline(figure, title, _note(view, responses, table))
    return figure


def _show(axes: Axes, image: Tensor, activation: float) -> None:
    style.bare(axes)
    axes.imshow(common.drawable(image), interpolation="none")
    axes.set_xlabel(f"{activation:.3g}", fontsize=style.SMALL)


def _note(view: AnalysisView, responses: Responses, table: pd.DataFrame) -> str:
    hit = table["predicted"].isin(responses.choice.triggered.targets.tolist()).sum()
    gain = (table["activation"] / table["clean_max"].clip(lower=1e-12)).median()
    return (
        f"{view.run}: images made to excite channels of {responses.layer}, {gain:.1f} times as "
        "much (median) as any clean test image does; numbers are activations, arrows the model's "
        f"answer to what was made, red where it is a target: {hit} of {len(table)}."
    )
