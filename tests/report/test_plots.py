import math
from pathlib import Path

import pandas as pd

from bdb.report import plots


def test_writes_three_files_and_nothing_else(board, summary, tmp_path: Path) -> None:
    plots.write(board, summary, tmp_path / "plots")
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == ["asr.svg", "c_acc.svg", "tradeoff.svg"]


def test_the_same_frames_give_the_same_bytes(board, summary, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        plots.write(board, summary, tmp_path / folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_every_mean_is_written_in_its_cell(board, summary, tmp_path: Path, texts) -> None:
    plots.write(board, summary, tmp_path)
    for name in ("asr", "c_acc"):
        written = texts(tmp_path / f"{name}.svg")
        for mean in summary[f"{name}_mean"]:
            assert f"{100 * mean:.1f}" in written
        assert "no defense" in written
        assert "no attack" in written
        assert "badnets  0.01" in written  # two ratios: both are named


def test_a_missing_cell_is_shown_as_such(board, summary, tmp_path: Path, texts) -> None:
    gone = (summary["attack"] == "sig") & (summary["defense"] == "nc")
    plots.write(board, summary[~gone], tmp_path)
    assert texts(tmp_path / "asr.svg").count("–") == 1


def test_one_seed_and_no_measured_rate_are_drawn(board, summary, tmp_path: Path) -> None:
    one = summary.assign(
        **dict.fromkeys(["asr_low", "asr_high", "c_acc_low", "c_acc_high", "asr_mean"], math.nan)
    )
    plots.write(board[board["seed"] == 0], one, tmp_path)
    assert (tmp_path / "tradeoff.svg").stat().st_size > 1000


def test_a_control_alone_is_drawn_without_a_warning(board, summary, tmp_path: Path, texts) -> None:
    own = summary[summary["attack"] == "none"]
    own = pd.concat([own, own.assign(attack="none_wanet")])
    plots.write(board[board["attack"] == "none"], own, tmp_path)
    assert "no attack, trained as wanet" in texts(tmp_path / "asr.svg")


def test_data_sets_and_models_have_a_map_each(board, summary, tmp_path: Path, texts) -> None:
    both = pd.concat([summary, summary.assign(dataset="cifar10")])
    plots.write(board, both, tmp_path)
    written = texts(tmp_path / "asr.svg")
    assert "digits · convnet" in written
    assert "cifar10 · convnet" in written


def test_colours_and_markers_tell_defenses_apart() -> None:
    looks = {tuple(plots._look(order).values()) for order in range(40)}
    assert len(looks) == 40
