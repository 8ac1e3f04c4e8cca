"""Detectors of poisoned training samples while poison goes from a few to most of the target class.

BadNets on digits, all-to-one: at 0.1 more than half of the target class is poison, and whatever
takes the smaller part or the outliers of a class for poison takes the clean samples.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from typing import Any

import common
from common import Record, figure, percent, percents, value

from bdb.console import say
from bdb.testing import Lab, lab

RATIOS = (0.01, 0.05, 0.1)
_CLUSTERS = {"min_silhouette": 0.25}  # classes of digits fall apart a little without any poison
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ac": ("ac", _CLUSTERS),
    "ac, PCA": ("ac", {**_CLUSTERS, "reduction": "pca"}),
    "ac, PCA, max_share .5": ("ac", {**_CLUSTERS, "reduction": "pca", "max_share": 0.5}),
    "ac, PCA, reclassify": ("ac", {**_CLUSTERS, "reduction": "pca", "decision": "reclassify"}),
    "spectral": ("spectral", {}),
    "spectral, not centered": ("spectral", {"centered": False}),
}


def measure_all(ratios: Sequence[float], seed: int) -> Iterator[Record]:
    """Every victim under every variant."""
    for ratio in ratios:
        victim = lab("badnets", ratio, seed)
        share = float(
            victim.is_poison()[victim.train_set.labels == victim.attack.target].float().mean()
        )
        for title, (name, fields) in VARIANTS.items():
            say(f"{ratio} {title}")
            row = {"ratio": ratio, "variant": title, "majority": figure(100 * share, "%")}
            yield row | _measure(victim, name, fields)


def _measure(victim: Lab, name: str, fields: dict[str, Any]) -> Record:
    from sklearn.metrics import roc_auc_score

    outcome = victim.defend(name, **fields)
    assert outcome.model is not None
    flagged, poison = outcome.flagged["train"], victim.is_poison()
    accuracy, success = victim.rates(outcome.model)
    auroc = float(roc_auc_score(poison, outcome.scores["train"]))
    shares = {"TPR": flagged[poison], "FPR": flagged[~poison]}
    rates = {key: float(mask.float().mean()) for key, mask in shares.items()}
    return {
        "AUROC": figure(auroc, ""),
        **percents(rates | {"C-Acc": accuracy, "ASR": success}),
    }


def table(record: Record) -> str:
    """One row per ratio and variant."""
    rates = ("TPR", "FPR", "C-Acc", "ASR")
    header = ("ratio", "of the target class", "detector", "AUROC", *(f"{rate} %" for rate in rates))
    return common.markdown(
        header,
        (
            (
                str(row["ratio"]),
                f"{value(row['majority']):.0f} %",
                row["variant"],
                f"{value(row['AUROC']):.3f}",
                *(percent(row[rate]) for rate in rates),
            )
            for row in record["results"].get("rows", ())
        ),
    )


def options() -> ArgumentParser:
    """The command line."""
    made = common.parser(__doc__)
    made.add_argument("--ratio", type=float, nargs="+", default=list(RATIOS), help="poison ratios")
    made.add_argument("--seed", type=int, default=0, help="of victims and detectors")
    return made


def main(arguments: list[str] | None = None) -> None:
    """Measure, write, print."""
    args = options().parse_args(arguments)
    report = common.Report("majority", args, common.pick_device(args))
    rows: list[Record] = []
    for row in measure_all(args.ratio, args.seed):
        rows.append(row)
        report.add(rows=rows, what="badnets on digits, convnet, recipe fast")
    report.finish(table)


if __name__ == "__main__":
    main()
