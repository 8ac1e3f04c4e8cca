"""Whether a backdoor is gone or only hidden: how soon a few poisoned images bring it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from bdb.analyses import common
from bdb.analyses.base import AnalysisView, OfLandscape, Picture
from bdb.datasets.base import ImageSet
from bdb.method import Paper
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.report import style
from bdb.training import inference, loop, seeds
from bdb.training.recipes import Recipe

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DEFENDED, CONTROL = "defended", "clean model"
_COLORS = {DEFENDED: style.VERMILION, CONTROL: style.BLUE}


class Part(NamedTuple):
    """What a model is tuned on, and what it is judged by afterwards; no image is in both.

    Attributes:
        tuning: clean images, and then `poisoned` triggered ones under their target.
        clean: uint8, N x C x H x W, with labels.
        triggered: uint8, M x C x H x W, with their targets for labels.
    """

    tuning: ImageSet
    poisoned: int
    clean: ImageSet
    triggered: ImageSet

    def rates(self, model: torch.nn.Module) -> tuple[float, float]:
        """C-Acc and ASR."""
        return _share(model, self.clean), _share(model, self.triggered)


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
    epochs: int = Field(5, ge=1, le=1000)
    batch_size: int = Field(64, ge=2)
    lr: float = Field(0.01, gt=0)

    def run(self, view: AnalysisView) -> Picture:
        """Tune both."""
        import pandas as pd

        part = self._part(view)
        both = ((DEFENDED, view.defended), (CONTROL, view.clean_model))
        rows = [(name, *row) for name, model in both for row in self._tuned(view, model, part)]
        table = pd.DataFrame(rows, columns=["model", "epoch", "c_acc", "asr"])
        return Picture(_draw(view, table, part), table)

    def _part(self, view: AnalysisView) -> Part:
        test, stamped = view.test.to("cpu"), view.triggered
        count = max(1, round(self.clean_share * len(test)))
        chosen = _mask(len(test), common.spread(test.labels, count, view.generator("clean")))
        source = stamped.is_source.cpu()
        labels = stamped.labels.cpu()[source]
        # At least as many are left to judge by.
        few = min(self.poisoned, len(labels) // 2)
        taken = _mask(len(labels), common.spread(labels, few, view.generator("poisoned")))
        triggered = ImageSet.whole(stamped.images.cpu()[source], stamped.targets.cpu()[source])
        tuning = ImageSet.whole(
            torch.cat([test.images[chosen], triggered.images[taken]]),
            torch.cat([test.labels[chosen], triggered.labels[taken]]),
        )
        return Part(tuning, few, test[~chosen], triggered[~taken])

    def _tuned(
        self, view: AnalysisView, model: Classifier, part: Part
    ) -> list[tuple[int, float, float]]:
        """Epoch, C-Acc and ASR, before and after each epoch."""
        copy = models.duplicate(model)
        rows = [(0, *part.rates(copy.eval()))]

        def judge(_: int, tuned: torch.nn.Module) -> None:
            rows.append((len(rows), *part.rates(tuned)))

        recipe = Recipe(
            epochs=self.epochs, batch_size=self.batch_size, lr=self.lr, schedule="constant"
        )
        data = part.tuning.to(view.device)
        seed = seeds.derive(view.seed, self.name)
        augmentation = view.data.augmentation
        loop.fit(
            copy,
            data,
            recipe,
            seed=seed,
            augmentation=augmentation,
            epoch_end=judge,
            what=self.name,
        )
        return rows


def _mask(size: int, positions: Tensor) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[positions] = True
    return mask


def _share(model: torch.nn.Module, wanted: ImageSet) -> float:
    """How many images get the class under which they stand; NaN for none."""
    if not len(wanted):
        return float("nan")
    return float((inference.logits(model, wanted.images).argmax(1) == wanted.labels).float().mean())


def _draw(view: AnalysisView, table: pd.DataFrame, part: Part) -> Figure:
    with style.context():
        figure = style.new_figure(7.4, 3.5)
        pair = figure.subplots(1, 2, sharey=True)
        for axes, rate, title in zip(
            pair, ("asr", "c_acc"), ("attack success rate", "clean accuracy"), strict=True
        ):
            for (name, rows), marker in zip(table.groupby("model", sort=False), "os", strict=True):
                axes.plot(
                    rows["epoch"],
                    rows[rate],
                    color=_COLORS[str(name)],
                    marker=marker,
                    ms=4,
                    label=name,
                )
            axes.set(title=title, xlabel="epochs of tuning", ylim=(-0.03, 1.03))
            axes.yaxis.set_major_formatter("{x:.0%}")
            axes.grid(visible=True)
        figure.legend(*pair[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
        ends = table.groupby("model", sort=False)["asr"].agg(["first", "last"])
        said = "; ".join(
            f"{name} from {row['first']:.1%} to {row['last']:.1%}" for name, row in ends.iterrows()
        )
        note = f"{view.run}: tuned on {len(part.tuning)} images, {part.poisoned} of them poisoned. "
        note += f"ASR: {said}. The sooner the defended model rises, the less was removed."
        style.headline(figure, f"What is left of the backdoor under {view.defense}", note)
    return figure
