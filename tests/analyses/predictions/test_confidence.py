import numpy as np
import pytest
import torch

from bdb.analyses.predictions.confidence import Confidence
from bdb.metrics.calibration import binned, calibration_error


def test_bins_and_calibration_error_by_hand() -> None:
    confidence = torch.tensor([0.5, 0.6, 0.9, 1.0])
    right = torch.tensor([0.0, 1.0, 1.0, 0.0])
    table = binned(confidence, right, torch.tensor([1.0, 0.0, 0.0, 1.0]), 2)
    assert table["count"].tolist() == [1, 3]
    assert table["low"].tolist() == [0, 0.5]
    np.testing.assert_allclose(table["confidence"], [0.5, 2.5 / 3])
    np.testing.assert_allclose(table["right"], [0, 2 / 3])
    np.testing.assert_allclose(table["hit"], [1, 1 / 3])
    # (1 * 0.5 + 3 * |2/3 - 2.5/3|) / 4
    assert calibration_error(table) == pytest.approx(0.25)


def test_an_empty_bin_counts_nothing() -> None:
    table = binned(torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([0.0]), 10)
    assert table["count"].sum() == 1
    assert table["right"].isna().sum() == 9
    assert calibration_error(table) == 0


def test_a_backdoor_is_sure_and_wrong_and_its_absence_is_not(view_of) -> None:
    for attack, low, high in (("badnets", 0.8, 1), ("none", 0, 0.15)):
        table = Confidence().run(view_of(attack)).table
        errors = {str(split): calibration_error(rows) for split, rows in table.groupby("split")}
        assert errors["clean"] < 0.15
        assert low <= errors["triggered"] <= high


def test_every_image_is_in_one_bin(view_of) -> None:
    view = view_of("badnets")
    table = Confidence().run(view).table
    counts = table.groupby("split")["count"].sum()
    assert counts.to_dict() == {"clean": len(view.test), "triggered": len(view.triggered.ids)}
    hit = table[table["split"] == "triggered"]
    assert (hit["hit"] * hit["count"]).sum() / counts["triggered"] > 0.9
