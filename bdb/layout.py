"""The only place that knows paths: a run and its folders, both ways.

Paths are relative to the project's folder, the one that holds params.yaml.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from bdb.errors import ParamsError, short

PARAMS = Path("params.yaml")
RAW = Path("data/raw")
PREPARED = Path("data/prepared")
POISONED = Path("data/poisoned")
CLEAN = Path("results/clean")
VICTIMS = Path("results/victims")
FEATURES = Path("results/features")
CELLS = Path("results/cells")
METRICS = Path("results/metrics")
ANALYSES = Path("results/analyses")
RESULTS = Path("results")
BOARDS = Path("results/boards")
RECORDED = Path("logs/recorded")

CLEAN_ATTACK = "none"
CLEAN_RATIO = "0"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_RATIO = re.compile(r"0(\.[0-9]*[1-9])?")
_SEED = re.compile(r"s[0-9]{1,10}")


@dataclass(frozen=True, order=True)
class Run:
    """One victim: what is attacked, how, how much of it, and which seed."""

    dataset: str
    model: str
    attack: str
    ratio: str
    seed: int

    @classmethod
    def parse(cls, text: str) -> Run:
        """Read `dataset/model/attack/ratio/s<seed>`.

        Raises:
            ParamsError: the text is not of this form.
        """
        parts = text.strip("/").split("/")
        named = len(parts) == 5 and all(_NAME.fullmatch(part) for part in parts[:3])
        if not named or not _RATIO.fullmatch(parts[3]) or not _SEED.fullmatch(parts[4]):
            raise ParamsError(
                f"run {short(text)} is not dataset/model/attack/ratio/s<seed>, "
                "as in digits/convnet/badnets/0.1/s0"
            )
        return cls(parts[0], parts[1], parts[2], parts[3], int(parts[4][1:]))

    def __str__(self) -> str:
        return f"{self.dataset}/{self.model}/{self.attack}/{self.ratio}/s{self.seed}"

    @property
    def poison_ratio(self) -> float:
        """The ratio as a number."""
        return float(self.ratio)

    @property
    def is_clean(self) -> bool:
        """Whether this is the clean-model control."""
        return self.attack == CLEAN_ATTACK

    @property
    def control(self) -> Run:
        """The clean-model control of this run: the same data, model and seed."""
        return Run(self.dataset, self.model, CLEAN_ATTACK, CLEAN_RATIO, self.seed)


def raw() -> Path:
    """Where raw data sets lie: data/raw, or the folder that BDB_DATA names."""
    return Path(os.environ.get("BDB_DATA") or RAW)


def expand(path: str, where: str = "path") -> Path:
    """A path that the user wrote, with `~` put in full.

    Raises:
        ParamsError: it begins with a user who is not known here.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ParamsError(f"{where}: {short(path)} begins with an unknown user") from None


def prepared(dataset: str, split: str) -> Path:
    """One split of a prepared data set."""
    return PREPARED / dataset / f"{split}.safetensors"


def poisoned(run: Run) -> Path:
    """What `poison` writes: the poisoned set, or the plan of a training-controlled attack."""
    return POISONED / str(run) / "poison.safetensors"


def victim(run: Run) -> Path:
    """The folder of a run's victim; clean models have one of their own."""
    if run.is_clean:
        return CLEAN / run.dataset / run.model / f"s{run.seed}"
    return VICTIMS / str(run)


def poison(run: Run, controls_training: bool) -> Path:
    """The whole poison artefact, whichever stage completes it."""
    return victim(run) / "poison.safetensors" if controls_training else poisoned(run)


def model(run: Run) -> Path:
    """The victim's weights."""
    return victim(run) / "model.safetensors"


def features(run: Run) -> Path:
    """What the victim makes of its training set and of the clean set, for detectors."""
    return FEATURES / str(run) / "features.safetensors"


def cell(run: Run, defense: str) -> Path:
    """The folder of a run under a defense."""
    return CELLS / str(run) / defense


def metrics(run: Run) -> Path:
    """The metrics of a run and of its cells."""
    return METRICS / f"{run}.json"


def analysis(run: Run, tool: str, suffix: str) -> Path:
    """A picture (`svg`) or its table (`parquet`)."""
    return ANALYSES / str(run) / f"{tool}.{suffix}"
