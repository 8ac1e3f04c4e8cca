"""The only place that knows paths: a run and its folders, both ways.

Paths are relative to the project's folder, the one that holds params.yaml.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bdb.errors import ParamsError, short

PARAMS = Path("params.yaml")
IMAGENET = "imagenet"  # The weights that torchvision published.
RAW = Path("data/raw")
PREPARED = Path("data/prepared")
POISONED = Path("data/poisoned")
IMPORTED = Path("data/imported")
CLEAN = Path("results/clean")
SURROGATES = Path("results/surrogates")
TRIGGERS = Path("results/triggers")
VICTIMS = Path("results/victims")
FEATURES = Path("results/features")
CELLS = Path("results/cells")
METRICS = Path("results/metrics")
ANALYSES = Path("results/analyses")
RESULTS = Path("results")
REPORT = Path("results/report")
SHARED = Path("results/shared")
BOARDS = Path("results/boards")
RECORDED = Path("logs/recorded")

CLEAN_ATTACK = "none"
_CONTROLS = f"{CLEAN_ATTACK}_"
CLEAN_RATIO = "0"
# Between a defense and the clean set that it is given, where params.yaml lists several.
_GIVEN = "@"
# Stands in a defense's place in what is made of a run's clean model.
CLEAN_MODEL = "clean_model"
# Stands in for the model in the run of a trigger that no model matters to.
ANY_MODEL = "any"

# What a person opens. Browsers and editors go by the suffix of the file that a link leads to,
# and in a cache none has one: such an output is never a link.
OPENED = frozenset({".csv", ".html", ".md", ".pdf", ".png", ".svg"})

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
        """Whether this is a control: nothing is poisoned."""
        return is_control(self.attack)

    @property
    def is_shared(self) -> bool:
        """Whether its victim is the clean model, which attackers and analyses may need too."""
        return self.attack == CLEAN_ATTACK

    @property
    def control(self) -> Run:
        """The clean-model control of this run: the same data, model and seed."""
        return Run(self.dataset, self.model, CLEAN_ATTACK, CLEAN_RATIO, self.seed)


def is_control(attack: str) -> bool:
    """Whether a name is that of the control, or of one that is trained as an attack's victims."""
    return attack == CLEAN_ATTACK or attack.startswith(_CONTROLS)


def control_of(attack: str) -> str:
    """The name of the control that is trained as the victims of an attack are."""
    return f"{_CONTROLS}{attack}"


def given(defense: str, clean_set: str) -> str:
    """The name of a defense's cells under one of several clean sets: `ft@seen-0.05`."""
    return f"{defense}{_GIVEN}{clean_set}"


def defense_of(cell: str) -> str:
    """The defense of a cell, as params.yaml names it."""
    return cell.partition(_GIVEN)[0]


def clean_set_of(cell: str) -> str:
    """Which of several clean sets a cell is given; empty if it is given none of them."""
    return cell.partition(_GIVEN)[2]


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


def own_weights(value: str, where: str = "weights") -> Path | None:
    """The user's own file that a model's weights are read from; None for none or published ones.

    Raises:
        ParamsError: it begins with a user who is not known here.
    """
    return None if value in ("", IMAGENET) else expand(value, where)


def prepared(dataset: str, split: str) -> Path:
    """One split of a prepared data set."""
    return PREPARED / dataset / f"{split}.safetensors"


def poisoned(run: Run) -> Path:
    """What `poison` writes: the poisoned set, or the plan of a training-controlled attack."""
    return POISONED / str(run) / "poison.safetensors"


def victim(run: Run) -> Path:
    """The folder of a run's victim; clean models have one of their own."""
    if run.is_shared:
        return CLEAN / run.dataset / run.model / f"s{run.seed}"
    return VICTIMS / str(run)


def poison(run: Run, controls_training: bool) -> Path:
    """The whole poison artefact, whichever stage completes it."""
    return victim(run) / "poison.safetensors" if controls_training else poisoned(run)


def model(run: Run) -> Path:
    """The victim's weights."""
    return victim(run) / "model.safetensors"


def surrogate(run: Run, name: str) -> Path:
    """The weights of a surrogate: a control's data, model and seed, and how it differs from it."""
    folder = SURROGATES / run.dataset / run.model / name / f"s{run.seed}"
    return folder / "model.safetensors"


def trigger(run: Run) -> Path:
    """The trigger that all ratios share."""
    folder = TRIGGERS / run.dataset / run.model / run.attack / f"s{run.seed}"
    return folder / "trigger.safetensors"


def features(run: Run) -> Path:
    """What the victim makes of its training set and of the clean set, for detectors."""
    return FEATURES / str(run) / "features.safetensors"


def cell(run: Run, defense: str) -> Path:
    """The folder of a run under a defense."""
    return CELLS / str(run) / defense


def defended(run: Run, defense: str) -> Path:
    """The weights of a cell's model, where they are kept."""
    return cell(run, defense) / "model.safetensors"


def evidence(run: Run, defense: str) -> Path:
    """What a cell's defense found, where it declares any evidence."""
    return cell(run, defense) / "evidence.safetensors"


class Imported(NamedTuple):
    """What `bdb import` writes of a victim into a folder."""

    manifest: Path
    model: Path
    poison: Path

    @classmethod
    def within(cls, folder: Path) -> Imported:
        """The files of a folder, whether or not they are there."""
        names = ("manifest.json", "model.safetensors", "poison.safetensors")
        return cls(*(folder / name for name in names))


def metrics(run: Run) -> Path:
    """The metrics of a run and of its cells."""
    return METRICS / f"{run}.json"


def is_opened(path: Path) -> bool:
    """Whether a person opens this output, or git keeps it: it has to be a file, never a link."""
    is_figures = path.suffix == ".json" and path.parent == RESULTS
    return path.suffix in OPENED or is_figures


def shared(path: Path) -> Path | None:
    """The link to an output's content by which DVC pushes and pulls it, if it needs one.

    DVC makes links of all that it puts in place, and so is told to leave pictures and page alone.
    """
    if path.is_relative_to(ANALYSES) or path.is_relative_to(REPORT):
        return SHARED / path.relative_to(RESULTS)
    return None


def analysis(run: Run, tool: str, suffix: str, of: str | None = None) -> Path:
    """A picture (`svg`) or its table (`parquet`): of a run, of a cell, or of the clean model.

    `of` is the cell's defense, or `CLEAN_MODEL`; None for the victim.
    """
    return ANALYSES / str(run) / (of or "") / f"{tool}.{suffix}"
