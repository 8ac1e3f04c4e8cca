"""What a defense does to the weights, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from bdb.analyses import layers, weights
from bdb.analyses.base import AnalysisView, OfNeurons, Picture
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KINDS: dict[str, tuple[tuple[type[nn.Module], ...], str, str]] = {
    "convolution": ((nn.Conv2d,), style.BLUE, "o"),
    "norm": ((nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm), style.ORANGE, "s"),
    "linear": ((nn.Linear,), style.GREEN, "D"),
    "other": ((nn.Module,), style.MUTED, "^"),
}


@register("weight_change")
class WeightChange(OfNeurons):
    """How far each layer, and each of its channels, is from where the victim had it.

    The table has one row per layer, weight and bias together: `layer`, `kind`, `weights` (how
    many), `norm` (of the victim's), `change` (norm of the difference), `relative` = change / norm,
    `cosine` of the two, `channels`, how many of them the defense set to zero (`silenced`), and
    `changes`: the relative change of each channel (NaN where the victim's is zero).
    """

    scope: ClassVar = "cell"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "defended"})

    def run(self, view: AnalysisView) -> Picture:
        """Compare the layers that both networks have."""
        import pandas as pd

        parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for name, pair in weights.paired(view.model, view.defended).items():
            parts.setdefault(name.rpartition(".")[0], []).append(pair)
        module = layers.core(view.model).get_submodule
        rows = [_row(name, module(name), *_sides(pairs)) for name, pairs in parts.items()]
        table = pd.DataFrame(rows)
        return Picture(_draw(view, table), table)


def _sides(pairs: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """A layer's parameters before and after, each as one row per channel: float64, C x D."""
    channels = len(pairs[0][0])
    kept = [pair for pair in pairs if pair[0].ndim and len(pair[0]) == channels]
    sides = [[part.reshape(channels, -1) for part in side] for side in zip(*kept, strict=True)]
    return [torch.cat(side, 1).double().cpu() for side in sides]


def _row(name: str, module: nn.Module, before: Tensor, after: Tensor) -> dict[str, Any]:
    change, norm = (after - before).norm(), before.norm()
    dead = (after == 0).all(1) & (before != 0).any(1)
    return {
        "layer": name,
        "kind": next(kind for kind, (types, *_) in _KINDS.items() if isinstance(module, types)),
        "weights": before.numel(),
        "norm": float(norm),
        "change": float(change),
        "relative": float(_share(change, norm)),
        "cosine": float((before * after).sum() / (norm * after.norm())),
        "channels": len(before),
        "silenced": int(dead.sum()),
        "changes": _share((after - before).norm(dim=1), before.norm(dim=1)).tolist(),
    }


def _share(change: Tensor, norm: Tensor) -> Tensor:
    return (change / norm).where(norm > 0, torch.nan)


def _draw(view: AnalysisView, table: pd.DataFrame) -> Figure:
    with style.context():
        figure = style.new_figure(7.2, 1.8 + 0.19 * len(table))
        axes = figure.subplots()
        for at in range(len(table)):
            _layer(axes, at, table.iloc[at])
        axes.set_yticks(range(len(table)), table["layer"])
        axes.set(ylim=(len(table) - 0.5, -0.5), xlabel="change, as a share of the victim's norm")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.grid(axis="x")
        for kind in sorted(set(table["kind"])):
            axes.plot([], [], _KINDS[kind][2], color=_KINDS[kind][1], label=kind)
        figure.legend(loc="outside right upper", title="bar: a layer\npoint: a channel")
        style.headline(figure, f"What {view.defense} does to the weights", _note(view, table))
    return figure


def _layer(axes: Axes, at: int, row: pd.Series) -> None:
    """A bar for the layer, and a point for each of its channels."""
    _, color, marker = _KINDS[row["kind"]]
    axes.barh(at, row["relative"], height=0.72, color=color, alpha=0.3, linewidth=0)
    places = [at] * len(row["changes"])
    axes.plot(row["changes"], places, marker, color=color, markersize=2.6, alpha=0.5, clip_on=False)


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    most = table.iloc[int(table["relative"].argmax())]
    total = table["change"].pow(2).sum() ** 0.5 / table["norm"].pow(2).sum() ** 0.5
    return (
        f"{view.run}: all in all the weights change by {total:.1%} of their norm, most in "
        f"{most['layer']} ({most['relative']:.1%}); {table['silenced'].sum()} of "
        f"{table['channels'].sum()} channels are set to zero, which is a point at 100%. "
        "Pruning moves few channels all the way, tuning moves all a little."
    )
