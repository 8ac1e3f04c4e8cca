"""Scan every model of a population, each ranked among the other clean ones: see docs/scan.md.

The run is one of preset `population`. Findings are kept in a CSV, and not made again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import common
import numpy as np
import pandas as pd

from bdb.defenses.base import Given
from bdb.metrics import verdicts
from bdb.report import population, tables
from bdb.scan import comparable, files, suspects
from bdb.scan.finding import Finding
from bdb.scan.ladder import Ladder
from bdb.scan.references import SIGNIFICANCE, References
from bdb.scan.suspects import Told

MODEL = ["attack", "poison_ratio", "seed"]
PACKAGED = Path(comparable.__file__).parent / "population.csv"
WAYS = [
    ["head_norm"],
    ["freeeagle"],
    ["mm_bd"],
    ["head_norm", "mm_bd"],
    ["head_norm", "mm_bd", "freeeagle"],
]
WITH_IMAGES = [[*WAYS[-1], "nc"], [*WAYS[-1], "nc", "bti_dbf"]]  # by the run's own scores


def models(run: Path) -> Iterator[tuple[pd.Series, Path]]:
    """Every model of the packaged population that worked, and its file."""
    table = population.read(PACKAGED)
    table = table[table["label"] != "failed"].drop_duplicates(MODEL)
    for _, row in table.iterrows():
        of_attack = f"victims/digits/convnet/{row['attack']}/{row['poison_ratio'] or 0:g}"
        folder = "clean/digits/convnet" if row["attack"] == "none" else of_attack
        yield row, run / "results" / folder / f"s{row['seed']:.0f}" / "model.safetensors"


def scan(row: pd.Series, path: Path) -> pd.DataFrame:
    """What each detector that needs no data says of a file: a row each."""
    found = files.read(path)
    model = suspects.load(found, Told())
    alike = comparable.find(None, model.spec, suspects.recipe(found))
    ladder = Ladder(Given(model=model), math.inf, 0, alike.fields)
    facts = {name: row[name] for name in [*MODEL, "label"]}
    rows = [
        {**facts, "detector": each.detector, "score": each.verdict["score"],
         "flagged": each.verdict.get("backdoored"), "seconds": round(each.seconds, 3)}
        for each in ladder.climb() if each.verdict and each.detector in alike.fields
    ]  # fmt: skip
    return pd.DataFrame(rows)


def beside(path: Path) -> References:
    """The clean models of the packaged population."""
    return comparable.find(None, suspects.load(files.read(path), Told()).spec, "")


def worth(found: pd.DataFrame, detectors: list[str], alike: References) -> list[str]:
    """A row of the table: detectors, AUROC, TPR and FPR at p <= .05, seconds."""
    p: dict[str, list[float]] = {"clean": [], "backdoored": []}
    own: dict[str, list[bool]] = {"clean": [], "backdoored": []}
    rows = found[found["detector"].isin(detectors)]
    for (key, *model), said in rows.groupby(["label", *MODEL]):
        label = str(key)
        others = References(alike.scores.drop(index=[tuple(model)], errors="ignore"))
        pairs = zip(said["detector"], said["score"], strict=True)
        findings = [Finding(name, {"score": score}) for name, score in pairs]
        rank = others.combined(findings)
        p[label].append(rank.p if rank else math.nan)
        own[label] += [bool(decided.any())] if len(decided := said["flagged"].dropna()) else []
    area = verdicts.auroc(-np.array(p["backdoored"]), -np.array(p["clean"]))
    rates = [np.mean(np.array(p[label]) <= SIGNIFICANCE) for label in ("backdoored", "clean")]
    rates += [np.mean(own[label] or math.nan) for label in ("backdoored", "clean")]
    seconds = rows.groupby(MODEL)["seconds"].sum().mean()
    shares = ("–" if math.isnan(rate) else f"{100 * rate:.0f} %" for rate in rates)
    return [", ".join(detectors), f"{area:.2f}", *shares, f"{seconds:.2f}"]


def main() -> None:
    """Scan, then print the table."""
    made = common.command_line(__doc__)
    made.add_argument("run", type=Path, help="the project folder of the run")
    made.add_argument("--kept", type=Path, default=Path("scans.csv"), help="findings")
    asked = made.parse_args()
    found = pd.read_csv(asked.kept) if asked.kept.exists() else pd.DataFrame(columns=MODEL)
    done = {tuple(key) for key in found[MODEL].itertuples(index=False)}
    for row, path in models(asked.run):
        if tuple(row[MODEL]) not in done:
            found = pd.concat([found, scan(row, path)], ignore_index=True)
            found.to_csv(asked.kept, index=False)
    alike = beside(path)
    header = ["detectors", "AUROC", "TPR", "FPR", "own TPR", "own FPR", "seconds"]
    own = population.read(PACKAGED)
    own = own[own["label"] != "failed"]
    rows = [worth(found, way, alike) for way in WAYS]
    rows += [worth(own, way, alike) for way in WITH_IMAGES]
    print(tables.markdown(header, rows))


if __name__ == "__main__":
    main()
