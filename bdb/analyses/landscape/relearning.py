"""Whether a backdoor is gone or only hidden: how soon a few poisoned images bring it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bdb.analyses import retuning
from bdb.analyses.base import AnalysisView, OfLandscape, Picture
from bdb.analyses.retuning import Part
from bdb.method import Paper
from bdb.registry import register
from bdb.report import style
from bdb.training import seeds
from bdb.training.recipes import Recipe

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DEFENDED, CONTROL = "defended", "clean model"
_COLORS = {DEFENDED: style.VERMILION, CONTROL: style.BLUE}


@register("relearning")
class Relearning(OfLandscape):
    """ASR and C-Acc while the defended model is tuned on clean images and five poisoned ones.

    Beside it stands the run's clean model, tuned in the same way: it never had the backdoor, and is
    what a victim retrained without the poison would be. Where the defended model is fooled sooner,
    its backdoor had been hidden, not removed. The ASR before is the paper's O-ASR, after it P-ASR.

    The table has one row per `model` (`defended`, `clean model`) and `epoch` (0: before): `c_acc`
    and `asr`, of images that were not tuned on.

    Differs: the tuning images come from the test set, of which the rest is judged by, since not
    every attack leaves a training set to draw on; a tenth of CIFAR-10's test images is the paper's
    2 % of its training set.
    """

    paper: ClassVar[Paper] = Paper(
        title="Uncovering, Explaining, and Mitigating the Superficial Safety of Backdoor Defense",
        authors="Min, Qin, Zhang, Chen, Cheng",
        venue="NeurIPS",
        year=2024,
        url="https://arxiv.org/abs/2410.09838",
    )
    scope: ClassVar = "cell"
    needs: ClassVar[frozenset[str]] = frozenset({"defended", "clean_model", "test", "triggered"})

    poisoned: int = Field(5, ge=1, le=10_000, description="triggered images to tune on")
    clean_share: float = Field(0.1, gt=0, lt=1, description="of the test images, to tune on")
    judged: int = Field(2000, ge=1, le=100_000, description="images of each rate, at most")
    epochs: int = Field(5, ge=1, le=1000)
    batch_size: int = Field(64, ge=2)
    lr: float = Field(0.01, gt=0)

    def run(self, view: AnalysisView) -> Picture:
        """Tune both."""
        import pandas as pd

        part = retuning.divide(view, self.clean_share, self.poisoned, self.judged)
        recipe = Recipe(
            epochs=self.epochs, batch_size=self.batch_size, lr=self.lr, schedule="constant"
        )
        seed = seeds.derive(view.seed, self.name)
        rows = [
            (name, *row)
            for name, model in ((DEFENDED, view.defended), (CONTROL, view.clean_model))
            for row in retuning.rates(view, model, part, recipe, seed)
        ]
        table = pd.DataFrame(rows, columns=["model", "epoch", "c_acc", "asr"])
        return Picture(_draw(view, table, part), table)


def _draw(view: AnalysisView, table: pd.DataFrame, part: Part) -> Figure:
    with style.context():
        figure = style.new_figure(7.4, 3.5)
        pair = figure.subplots(1, 2, sharey=True)
        for axes, rate, title in zip(
            pair, ("asr", "c_acc"), ("attack success rate", "clean accuracy"), strict=True
        ):
            for (name, rows), marker in zip(table.groupby("model", sort=False), "os", strict=True):
                look = {"color": _COLORS[str(name)], "marker": marker, "ms": 4}
                axes.plot(rows["epoch"], rows[rate], label=name, **look)
            axes.set(title=title, xlabel="epochs of tuning", ylim=(-0.03, 1.03))
            axes.yaxis.set_major_formatter("{x:.0%}")
            axes.grid(visible=True)
        figure.legend(*pair[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
        title = f"What is left of the backdoor under {view.defense}"
        style.headline(figure, title, _note(view, table, part))
    return figure


def _note(view: AnalysisView, table: pd.DataFrame, part: Part) -> str:
    ends = table.groupby("model", sort=False)["asr"].agg(["first", "last"])
    said = "; ".join(
        f"{name} from {row['first']:.1%} to {row['last']:.1%}" for name, row in ends.iterrows()
    )
    return (
        f"{view.run}: tuned on {len(part.tuning)} images, {part.poisoned} of them poisoned. "
        f"ASR: {said}. The sooner the defended model rises, the less was removed."
    )
