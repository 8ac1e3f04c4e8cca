"""What an answer is worth: ranks among clean models, on the population that bdb brings."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bdb.datasets.base import DataSpec
from bdb.errors import ArtifactError
from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.report import population, tables
from bdb.scan import comparable, plain, plain_json
from bdb.scan.answer import Answer
from bdb.scan.finding import Finding
from bdb.scan.references import References

PACKAGED = Path(comparable.__file__).parent / "population.csv"
DATA = DataSpec(
    dataset="digits",
    classes=tuple("0123456789"),
    shape=(3, 32, 32),
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
)
SPEC = ModelSpec(architecture="convnet", fields={"width": 8}, data=DATA)
MODEL = ["attack", "poison_ratio", "seed"]


def everyone() -> pd.DataFrame:
    table = population.read(PACKAGED)
    return table[table["label"] != "failed"]


def findings(rows: pd.DataFrame) -> list[Finding]:
    """What detectors said of one of its models, by their own thresholds if they have one."""
    said = rows[["score", "flagged"]].rename(columns={"flagged": "backdoored"}).astype(object)
    verdicts = ({"suspect": 0, **verdict.dropna()} for _, verdict in said.iterrows())
    return list(map(Finding, rows["detector"], verdicts))


def answered(said: list[Finding], beside: References) -> Answer:
    return Answer(Path("m.pt"), models.build(SPEC, 0).eval(), said, beside)


def without(alike: References, model: tuple[str, float, float]) -> References:
    """All clean models but one."""
    rest = alike.scores.drop(index=model, errors="ignore")
    return References(rest, alike.fields, alike.recipe)


def test_models_of_the_population_are_found_with_what_their_detectors_were_set_to() -> None:
    alike = comparable.find(None, SPEC, "fast")
    assert alike.scores.shape == (50, 5)
    assert alike.fields["mm_bd"] == {"lr": 0.03, "restarts": 10, "steps": 100}
    assert alike.fields["freeeagle"] == {"layer": 3, "steps": 10}
    assert alike.fields["head_norm"] == {}


@pytest.mark.parametrize(
    ("spec", "recipe"),
    [
        (SPEC.model_copy(update={"fields": {"width": 16}}), ""),
        (SPEC.model_copy(update={"architecture": "preactresnet18"}), ""),
        (SPEC.model_copy(update={"data": DATA.model_copy(update={"dataset": "mnist"})}), ""),
        (SPEC.model_copy(update={"data": DATA.model_copy(update={"dataset": "brought"})}), ""),
        (SPEC, "paper"),
    ],
)
def test_other_models_are_uncalibrated(spec: ModelSpec, recipe: str) -> None:
    alike = comparable.find(None, spec, recipe)
    assert "no clean model of" in alike.lacking
    found = answered([Finding("mm_bd", {"backdoored": True, "score": 9.0})], alike)
    assert found.is_suspicious
    assert found.calibration.startswith("uncalibrated: no clean model of")


@pytest.mark.parametrize(
    "detectors",
    [
        ["head_norm", "mm_bd"],
        ["head_norm", "mm_bd", "nc"],
        ["head_norm", "mm_bd", "freeeagle"],
        ["head_norm", "mm_bd", "freeeagle", "nc", "bti_dbf"],
    ],
)
def test_clean_models_are_suspected_no_more_often_than_said(detectors: list[str]) -> None:
    """Each among the others; own thresholds call a third of them and more backdoored."""
    alike = comparable.find(None, SPEC, "")
    table = everyone()
    kinds = table[table["detector"].isin(detectors)].groupby(["label", *MODEL])
    suspected: dict[str, list[bool]] = {"clean": [], "backdoored": []}
    flagged: list[bool] = []
    for (label, *model), rows in kinds:
        found = answered(findings(rows), without(alike, tuple(model)))
        suspected[label].append(found.is_suspicious)
        flagged += [bool(rows["flagged"].any())] if label == "clean" else []
    assert np.mean(flagged) > 0.35
    assert np.mean(suspected["clean"]) <= 0.05
    assert np.mean(suspected["backdoored"]) > 0.45


def test_held_out_clean_models_are_suspected_no_more_often_than_said() -> None:
    """Half of them as references, the other half as suspects, twenty draws."""
    alike = comparable.find(None, SPEC, "")
    table = everyone()
    clean = {key: findings(rows) for key, rows in table[table["label"] == "clean"].groupby(MODEL)}
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(20):
        order = rng.permutation(len(clean))
        pool = References(alike.scores.iloc[order[:25]], alike.fields)
        held = [clean[alike.scores.index[at]] for at in order[25:]]
        rates.append(np.mean([answered(each, pool).is_suspicious for each in held]))
    assert np.mean(rates) <= 0.05


def test_the_answer_says_how_many_clean_models_look_as_suspicious() -> None:
    alike = comparable.find(None, SPEC, "fast")
    mild = {"backdoored": True, "score": float(alike.scores["mm_bd"].nlargest(3).iloc[-1])}
    found = answered([Finding("mm_bd", mild), Finding("head_norm", reason="it failed: x")], alike)
    assert found.ranks["mm_bd"][:2] == (3, 50)
    assert not found.is_suspicious
    text = plain.text(found)
    assert "mm_bd: nothing (score" in text
    assert "3 of 50 clean models score as high, p = 0.078" in text
    assert "calibrated: 3 of 50 clean models, trained by recipe fast, look at least as" in text
    far = answered([Finding("mm_bd", {"backdoored": False, "score": 1e3, "suspect": 7})], alike)
    assert "mm_bd: suspicious, class 7 (score 1000.00, 0 of 50" in plain.text(far)
    said = plain_json.document(far)
    assert (said["suspicious"], round(said["p_value"], 4)) == (True, round(1 / 51, 4))
    assert said["detectors"][0]["clean_models"] == 50


def test_a_detector_without_a_threshold_suspects_nothing_by_itself() -> None:
    lacking = References(pd.DataFrame(), lacking="nothing to compare with")
    found = answered([Finding("bti_dbf", {"score": 0.9, "suspect": 3})], lacking)
    assert not found.is_suspicious
    assert "bti_dbf: has no threshold (score 0.90, uncalibrated" in plain.text(found)


def test_too_few_clean_models_calibrate_nothing(tmp_path: Path) -> None:
    table = everyone()
    few = table[(table["label"] == "clean") & (table["seed"] < 2)]
    path = tmp_path / "few.csv"
    path.write_text(tables.csv(few))
    alike = comparable.find(path, SPEC, "")
    found = answered([Finding("mm_bd", {"backdoored": False, "score": 1e3})], alike)
    assert found.combined is None
    assert "fewer than 19 clean models" in found.calibration
    assert not found.is_suspicious


def test_a_file_that_is_no_population_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ArtifactError, match="not a population"):
        comparable.find(path, SPEC, "")
