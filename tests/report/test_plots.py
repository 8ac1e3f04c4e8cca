import math
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bdb.report import findings, plots


def test_tells_what_it_wrote(board, tmp_path: Path) -> None:
    told = plots.write(findings.of(board), tmp_path / "plots")
    assert sorted(told) == sorted((tmp_path / "plots").iterdir())
    names = sorted(path.stem for path in told)
    assert names == ["asr", "c_acc", "clean_sets", "ranks", "roc", "stability", "tradeoff"]


def test_the_same_frames_give_the_same_bytes(board, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        plots.write(findings.of(board), tmp_path / folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_every_mean_is_written_in_its_cell(board, summary, tmp_path: Path, texts) -> None:
    plots.write(findings.of(board), tmp_path)
    for name in ("asr", "c_acc"):
        written = texts(tmp_path / f"{name}.svg")
        for mean in summary[f"{name}_mean"]:
            assert f"{100 * mean:.1f}" in written
        assert "no defense" in written
        assert "no attack" in written
        assert "badnets  0.01" in written  # two ratios: both are named


def test_a_missing_cell_is_shown_as_such(board, summary, tmp_path: Path, texts) -> None:
    gone = (summary["attack"] == "sig") & (summary["defense"] == "nc")
    plots.write(replace(findings.of(board), summary=summary[~gone]), tmp_path)
    assert texts(tmp_path / "asr.svg").count("–") == 1


def test_one_seed_and_no_measured_rate_are_drawn(board, summary, tmp_path: Path) -> None:
    one = summary.assign(
        **dict.fromkeys(["asr_low", "asr_high", "c_acc_low", "c_acc_high", "asr_mean"], math.nan)
    )
    found = findings.of(board[board["seed"] == 0])
    plots.write(replace(found, summary=one), tmp_path)
    assert (tmp_path / "tradeoff.svg").stat().st_size > 1000


def test_a_control_alone_is_drawn_without_a_warning(board, summary, tmp_path: Path, texts) -> None:
    own = summary[summary["attack"] == "none"]
    own = pd.concat([own, own.assign(attack="none_wanet")])
    found = findings.of(board[board["attack"] == "none"])
    plots.write(replace(found, summary=own), tmp_path)
    assert "no attack, trained as wanet" in texts(tmp_path / "asr.svg")


def test_data_sets_and_models_have_a_map_each(board, summary, tmp_path: Path, texts) -> None:
    both = pd.concat([summary, summary.assign(dataset="cifar10")])
    plots.write(replace(findings.of(board), summary=both), tmp_path)
    written = texts(tmp_path / "asr.svg")
    assert "digits · convnet" in written
    assert "cifar10 · convnet" in written


def test_colours_and_markers_tell_defenses_apart() -> None:
    looks = {tuple(plots._look(order).values()) for order in range(40)}
    assert len(looks) == 40
