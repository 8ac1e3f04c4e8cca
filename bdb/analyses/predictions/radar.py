"""What a defense gives and what it costs, beside no defense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field
from torch import nn

from bdb.analyses import common
from bdb.analyses.base import AnalysisView, OfPredictions, Picture
from bdb.metrics import classification
from bdb.registry import register
from bdb.report import style
from bdb.training import inference

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

VICTIM, DEFENDED = "no defense", "defended"
_SPOKES = {"c_acc": "C-Acc", "safe": "1 - ASR", "ra": "RA", "der": "DER", "thrift": "thrift"}
_LOOKS = {VICTIM: (style.BLUE, "--", "o"), DEFENDED: (style.VERMILION, "-", "s")}


@register("radar")
class Radar(OfPredictions):
    """C-Acc, ASR, RA, DER and cost of a cell as a radar chart, beside no defense.

    The table has one row for `no defense` and one for `defended` (`model`): `c_acc`, `asr`, `ra`
    (of what the defended model answers: inputs that a detector rejects count as answered), `der`
    (0.5 for no defense), `seconds` that the defense took (0 for none), `training_seconds` of the
    victim, and `thrift`, the share of both times that went into training: 1 costs nothing, 0.5 as
    much again as the victim.
    """

    scope: ClassVar = "cell"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "defended", "test", "triggered", "cost"})

    samples: int = Field(2000, ge=1, description="most clean and triggered images that are asked")

    def run(self, view: AnalysisView) -> Picture:
        """Let both models answer."""
        import pandas as pd

        victim, defended = (self._rates(view, model) for model in (view.model, view.defended))
        cost = view.cost
        each = ((VICTIM, victim, 0.0), (DEFENDED, defended, cost.defense))
        rows = [
            {
                "model": name,
                **rates,
                "der": classification.defense_effectiveness(victim, rates),
                "seconds": seconds,
                "training_seconds": cost.training,
                "thrift": cost.training / max(cost.training + seconds, 1e-9),
            }
            for name, rates, seconds in each
        ]
        table = pd.DataFrame(rows)
        return Picture(_draw(view, table), table)

    def _rates(self, view: AnalysisView, model: nn.Module) -> classification.Rates:
        """Fractions; NaN where there is nothing to measure by."""
        test, stamped = view.test, view.triggered
        clean = common.spread(test.labels, self.samples, view.generator(self.name, "clean"))
        meant = stamped.is_source.cpu().nonzero().flatten()
        labels, targets = stamped.labels.cpu()[meant], stamped.targets.cpu()[meant]
        some = common.spread(labels, self.samples, view.generator(self.name, "triggered"))
        answers = inference.logits(model, stamped.images.cpu()[meant[some]]).argmax(1)
        return {
            "c_acc": inference.accuracy(model, test.images.cpu()[clean], test.labels.cpu()[clean]),
            "asr": float((answers == targets[some]).double().mean()),
            "ra": float((answers == labels[some]).double().mean()),
        }


def _draw(view: AnalysisView, table: pd.DataFrame) -> Figure:
    shown = table.assign(safe=1 - table["asr"]).set_index("model")
    with style.context():
        figure = style.new_figure(6.4, 5.4)
        axes: Any = figure.add_subplot(projection="polar")
        angles = np.linspace(0, 2 * np.pi, len(_SPOKES), endpoint=False)
        for name, (color, line, marker) in _LOOKS.items():
            values = shown.loc[name, list(_SPOKES)].to_numpy(dtype=float)
            ring = np.append(angles, 0), np.append(values, values[0])
            axes.plot(*ring, color=color, ls=line, marker=marker, ms=5, label=name, clip_on=False)
            axes.fill(*ring, color=color, alpha=0.12)
        axes.set(theta_zero_location="N", theta_direction=-1, ylim=(0, 1), rlabel_position=36)
        axes.set_xticks(angles, [_label(spoke, shown) for spoke in _SPOKES])
        sides = ("center", "left", "left", "right", "right")
        for label, side in zip(axes.get_xticklabels(), sides, strict=True):
            label.set_ha(side)
        axes.set_yticks([0.25, 0.5, 0.75, 1], ["", "50%", "", "100%"], color=style.MUTED)
        axes.spines["polar"].set(color=style.FAINT)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right")
        title = f"What {view.defense} gives and what it costs"
        style.headline(figure, title, _note(view, table))
    return figure


def _label(spoke: str, shown: pd.DataFrame) -> str:
    before, after = shown[spoke]
    return f"{_SPOKES[spoke]}\n{before:.1%} → {after:.1%}"


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    seconds, training = table.iloc[-1][["seconds", "training_seconds"]]
    return (
        f"{view.run}: further out is better. RA is the accuracy on triggered images; DER is 50% "
        "for a defense that does nothing. Thrift is training's share of all the time: the defense "
        f"took {seconds:.3g} s, the victim {training:.3g} s."
    )
