"""Verdicts beside those on clean models, on boards made by hand."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bdb.errors import ArtifactError
from bdb.report import population, tables


def row(attack: str, seed: int, score: float, **other: Any) -> list[dict[str, Any]]:
    """A victim and its cell under a detector that flags scores above 3; the target is class 1."""
    clean = attack.startswith("none")
    shared = {
        "dataset": "digits", "model": "convnet", "recipe": "fast", "clean_set": "reserved",
        "setting": "", "attack": attack, "poison_ratio": 0.0 if clean else 0.1, "seed": seed,
        "targets": "" if clean else "1", "asr": 0.0 if clean else 1.0, "suspect": math.nan,
        "seconds": 2.0, "memory_mb": 300.0,
    }  # fmt: skip
    verdict = {"defense": "nc", "score": score, "backdoored": score > 3, "suspect": score % 2}
    undefended = {"defense": "none", "score": math.nan, "backdoored": None}
    return [shared | undefended | other, shared | verdict | other]


def board(*rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame([each for pair in rows for each in pair])
    return table.assign(**population.calibrate(table))


CLEAN = [row("none", seed, float(seed)) for seed in range(4)]  # 0, 1, 2, 3


def said(table: pd.DataFrame, attack: str) -> list[tuple[float, str]]:
    rows = table[(table["attack"] == attack) & (table["defense"] == "nc")]
    return list(zip(rows["p_value"].round(4), rows["calibration"], strict=True))


def test_a_verdict_is_a_rank_among_clean_models() -> None:
    table = board(*CLEAN, row("badnets", 0, 5.0), row("badnets", 1, 2.0))
    assert said(table, "badnets") == [(0.2, "4 clean models"), (0.6, "4 clean models")]


def test_a_clean_model_is_ranked_among_the_others() -> None:
    found = said(board(*CLEAN), "none")
    assert found == [(p, "3 clean models") for p in (1.0, 0.75, 0.5, 0.25)]
    assert said(board(CLEAN[0]), "none")[0][1] == "uncalibrated"


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "mnist"}, {"model": "wide"}, {"recipe": "paper"}, {"clean_set": "seen"},
        {"setting": "convnet.width=8"}, {"setting": "training.epochs=3"}, {"setting": "nc.lr=1"},
    ],
)  # fmt: skip
def test_models_that_are_not_alike_calibrate_nothing(other: dict[str, Any]) -> None:
    ((p_value, calibration),) = said(board(*CLEAN, row("badnets", 0, 5.0, **other)), "badnets")
    assert math.isnan(p_value)
    assert calibration == "uncalibrated"


def test_the_fields_of_the_attack_do_not_matter() -> None:
    table = board(*CLEAN, row("badnets_3", 0, 5.0, setting="badnets_3.target=3"))
    assert said(table, "badnets_3") == [(0.2, "4 clean models")]


def test_a_control_that_was_trained_as_the_victim_comes_first() -> None:
    own = [row("none_wanet", 0, 9.0, setting="none_wanet.trained_as=wanet")]
    table = board(*CLEAN, *own, row("wanet", 0, 5.0))
    assert said(table, "wanet") == [(1.0, "1 clean model")]
    assert said(table, "none_wanet")[0][1] == "uncalibrated"


def test_where_there_is_no_score_nothing_is_said() -> None:
    table = board(*CLEAN)
    undefended = table[table["defense"] == "none"]
    assert set(undefended["calibration"]) == {""}
    assert undefended["p_value"].isna().all()


def people() -> pd.DataFrame:
    """40 clean models with scores from 0 to 3.9, ten backdoored ones, and two failed attacks."""
    clean = [row("none", seed, seed / 10) for seed in range(40)]
    bad = [row("badnets", seed, 5.0 if seed < 6 else 2.0) for seed in range(10)]
    failed = [row("blended", seed, 9.0, asr=0.89) for seed in range(2)]
    return population.models(board(*clean, *bad, *failed))


def test_a_model_counts_as_backdoored_from_an_asr_of_nine_tenths_on() -> None:
    table = people()
    assert list(table.columns) == population.COLUMNS
    assert table["label"].value_counts().to_dict() == {"clean": 40, "backdoored": 10, "failed": 2}


def test_what_a_detector_is_worth() -> None:
    found = population.summarise(people()).iloc[0]
    assert (found["clean"], found["backdoored"], found["pool"]) == (40, 10, 20)
    # Six are above all forty, four above twenty and level with one.
    assert found["auroc"] == pytest.approx((6 * 40 + 4 * 20.5) / 400)
    assert found["auroc_low"] < found["auroc"] < found["auroc_high"]
    # The threshold is the largest score of half the clean ones, which is above 2 and below 5.
    assert found["tpr_at_5_fpr"] == pytest.approx(0.6)
    assert found["fpr_beside"] <= 0.25
    assert found["own_tpr"] == pytest.approx(0.6)
    assert found["own_fpr"] == pytest.approx(9 / 40)
    assert found["top1"] == pytest.approx(0.6)  # 5 % 2 is the target, 2 % 2 is not
    assert (found["seconds"], found["memory_mb"]) == (2.0, 300.0)


def test_too_few_clean_models_fix_no_threshold() -> None:
    few = population.models(board(*CLEAN, row("badnets", 0, 5.0)))
    found = population.summarise(few).iloc[0]
    assert math.isnan(found["tpr_at_5_fpr"])
    assert found["auroc"] == 1.0


def test_a_method_that_decides_nothing_has_no_rates_of_its_own(tmp_path: Path) -> None:
    silent = {"backdoored": None}
    rows = [*(row("none", s, float(s), **silent) for s in range(4)), row("badnets", 0, 5.0)]
    rows[-1][1]["backdoored"] = None
    table = population.models(board(*rows))
    table.to_csv(tmp_path / "population.csv", index=False)
    for each in (table, population.read(tmp_path / "population.csv")):
        found = population.summarise(each).iloc[0]
        assert math.isnan(found["own_tpr"])
        assert math.isnan(found["own_fpr"])
        assert found["auroc"] == 1.0
        assert population.by_attack(each)["flagged"].isna().all()
        assert "| – | – |" in population.markdown(each)


def test_failed_attacks_are_shown_apart() -> None:
    kinds = population.by_attack(people()).set_index("attack")
    assert kinds.loc["blended", ["label", "models", "flagged"]].tolist() == ["failed", 2, 1.0]
    assert kinds.loc["badnets", "flagged"] == pytest.approx(0.6)
    text = population.markdown(people())
    assert "| nc | 40 | 10 |" in text
    assert "| nc | blended, failed | 0.1 | 2 |" in text


def test_a_kept_file_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "population.csv"
    path.write_text(tables.csv(people()))
    assert population.markdown(population.read(path)) == population.markdown(people())
    path.write_text("dataset,model\n")
    with pytest.raises(ArtifactError, match="not a population"):
        population.read(path)
    with pytest.raises(ArtifactError, match="no such file"):
        population.read(tmp_path / "none.csv")


def test_the_tables_in_the_docs_are_those_of_the_file_beside_them() -> None:
    docs = Path(__file__).parents[2] / "docs"
    text = population.markdown(population.read(docs.parent / "bdb/scan/population.csv"))
    assert text in (docs / "population.md").read_text(), "run `make pages`"


def test_without_verdicts_there_is_nothing_to_show() -> None:
    nothing = population.models(board(row("badnets", 0, math.nan)))
    assert nothing.empty
    assert population.markdown(nothing) == "No model has a verdict with a score.\n"
    assert population.draw(nothing).get_suptitle() == "Verdicts on models"


def test_curves_name_the_detectors(tmp_path: Path, texts: Any) -> None:
    from bdb.report import style

    style.save_svg(population.draw(people()), tmp_path / "roc.svg")
    assert "nc, 0.81" in texts(tmp_path / "roc.svg")
