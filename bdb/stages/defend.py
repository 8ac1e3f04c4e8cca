"""defend: one cell, a run under a defense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor

from bdb import artifacts, layout
from bdb.attacks.poisoning import Triggered
from bdb.console import say
from bdb.datasets.base import ImageSet
from bdb.defenses import certificates, features
from bdb.defenses import evidence as found
from bdb.defenses.base import DefenderView, Defense, Given, Outcome
from bdb.errors import BdbError, ParamsError
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.metrics import classification
from bdb.models import base as models
from bdb.provenance import Provenance
from bdb.stages import predictions
from bdb.stages.inputs import RunInputs
from bdb.training import seeds

SCORE_COLUMNS = ("split", "source", "index", "score", "flagged")


def run(jobs: Jobs, run: Run, name: str) -> None:
    """Let a defense act on a run, and write what comes of it.

    Raises:
        ParamsError: the data set has too few classes for the defense.
    """
    inputs = RunInputs(jobs, run, name)
    defense = cast(Defense, jobs.settings.make("defense", name))
    _check_classes(defense, inputs)
    provenance = Provenance(jobs.defend(run, name), inputs.device, run)
    stream = InputStream(inputs.test, inputs.triggered, run.seed)
    outcome = defense.run(_view(defense, inputs, stream))
    _check(outcome, defense, inputs, stream)
    folder = layout.cell(run, name)
    scores = _scores(outcome, inputs, stream)
    artifacts.write_table(folder / "scores.parquet", scores)
    table = _predictions(outcome, defense, inputs, scores)
    artifacts.write_table(folder / "predictions.parquet", table)
    _keep(outcome, defense, name, inputs, provenance.origin())
    provenance.write(
        folder,
        defense=name,
        fields=defense.model_dump(mode="json"),
        verdict=outcome.verdict,
        certifies=defense.certifies,
    )
    rates = classification.rates(table)
    say(f"{run} {name}: C-Acc {rates['c_acc']:.4f}, ASR {rates['asr']:.4f}, RA {rates['ra']:.4f}")


class InputStream:
    """Clean and triggered test images in one shuffled stream, as a deployed model meets them."""

    def __init__(self, test: ImageSet, triggered: Triggered, seed: int) -> None:
        generator = seeds.generator(seed, "defend", "inputs")
        self.order = torch.randperm(len(test) + len(triggered.ids), generator=generator)
        self.images = torch.cat([test.images, triggered.images])[self.order]
        self._ids = torch.cat([test.ids, triggered.ids])[self.order]
        self._is_triggered = (self.order >= len(test)).numpy()

    def origins(self) -> pd.DataFrame:
        """Where each image comes from: the truth that no defense sees."""
        source = pd.Series(self._is_triggered).map({False: "test", True: "triggered"})
        return pd.DataFrame({"source": source, "index": self._ids.numpy()})


def _view(defense: Defense, inputs: RunInputs, stream: InputStream) -> DefenderView:
    given: dict[str, Callable[[], Any]] = {
        "model": lambda: models.load(layout.model(inputs.run), inputs.device),
        "train_set": lambda: inputs.given_train_set,
        "clean_set": lambda: inputs.clean_set,
        "inputs": lambda: stream.images,
        "features": lambda: features.load(layout.features(inputs.run), _named(inputs)),
    }
    return DefenderView(
        Given(**{need: given[need]() for need in defense.needs}),
        defense.needs,
        spec=inputs.spec,
        recipe=inputs.recipe,
        seed=seeds.derive(inputs.run.seed, "defend", defense.name),
        device=inputs.device,
    )


def _named(inputs: RunInputs) -> str:
    """How the features of the defender's clean images are called in their file."""
    return "clean" if inputs.given == inputs.settings.clean_sets[0] else inputs.given.name


def _check_classes(defense: Defense, inputs: RunInputs) -> None:
    """Of a user's folder no plan knows how many classes it has."""
    if inputs.data.num_classes < defense.min_classes:
        raise ParamsError(
            f"grid.defense: {defense.name} needs {defense.min_classes} classes or more, and "
            f"{inputs.run.dataset} has {inputs.data.num_classes}; leave it out"
        )


def _check(outcome: Outcome, defense: Defense, inputs: RunInputs, stream: InputStream) -> None:
    """Refuse an outcome that does not keep the contract."""
    if (outcome.model is not None) != defense.mitigates:
        gives = "a model" if outcome.model is not None else "no model"
        raise BdbError(f"{defense.name}: mitigates is {defense.mitigates}, but it gave {gives}")
    if (outcome.verdict is not None) != defense.judges:
        gives = "a verdict" if outcome.verdict is not None else "no verdict"
        raise BdbError(f"{defense.name}: judges is {defense.judges}, but it gave {gives}")
    lengths = {"train": len(inputs.given_train_set), "inputs": len(stream.images)}
    for split, values in (*outcome.scores.items(), *outcome.flagged.items()):
        if values.shape != (lengths[split],):
            raise BdbError(
                f"{defense.name}: {split!r} has {tuple(values.shape)} values "
                f"for {lengths[split]} samples"
            )
    problem = found.problem(outcome.evidence, defense, inputs.data)
    if problem:
        raise BdbError(problem)


def _keep(
    outcome: Outcome, defense: Defense, name: str, inputs: RunInputs, origin: dict[str, Any]
) -> None:
    """Write the defended model, if it is to be kept, and what was found."""
    if defense.mitigates and inputs.settings.keep_defended_models:
        assert outcome.model is not None
        models.save(layout.defended(inputs.run, name), outcome.model, origin=origin)
    if defense.evidence:
        path = layout.evidence(inputs.run, name)
        found.save(path, outcome.evidence, defense, inputs.data, origin=origin)


def _scores(outcome: Outcome, inputs: RunInputs, stream: InputStream) -> pd.DataFrame:
    """One row per scored or flagged sample."""
    tables = []
    for split in sorted({*outcome.scores, *outcome.flagged}):
        if split == "train":
            ids = inputs.given_train_set.ids.cpu().numpy()
            origins = pd.DataFrame({"source": "train", "index": ids})
        else:
            origins = stream.origins()
        origins.insert(0, "split", split)
        origins["score"] = _column(outcome.scores.get(split), len(origins), float("nan"))
        origins["flagged"] = _column(outcome.flagged.get(split), len(origins), False)
        tables.append(origins)
    if not tables:
        return pd.DataFrame({name: pd.Series(dtype=_DTYPES[name]) for name in SCORE_COLUMNS})
    return pd.concat(tables, ignore_index=True).astype(_DTYPES)


_DTYPES = {
    "split": "object",
    "source": "object",
    "index": "int32",
    "score": "float64",
    "flagged": "bool",
}


def _column(values: Tensor | None, count: int, missing: float | bool) -> Any:
    return [missing] * count if values is None else values.cpu().numpy()


def _predictions(
    outcome: Outcome, defense: Defense, inputs: RunInputs, scores: pd.DataFrame
) -> pd.DataFrame:
    """What the defended model predicts and certifies, less the inputs that were flagged."""
    if outcome.model is None:
        table = artifacts.read_table(layout.victim(inputs.run) / "predictions.parquet")
    else:
        table = predictions.make(outcome.model, inputs.test, inputs.triggered)
    if defense.certifies:
        assert outcome.model is not None
        shown = torch.cat([inputs.test.images, inputs.triggered.images])  # the table's order
        stands = certificates.of(outcome.model, shown, defense)
        table = table.assign(certificate=stands.numpy())
    flagged = scores[(scores["split"] == "inputs") & scores["flagged"]]
    return predictions.reject(table, flagged)
