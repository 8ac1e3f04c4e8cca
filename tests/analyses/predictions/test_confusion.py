import numpy as np
import pytest

from bdb.analyses.predictions.confusion import Confusion
from bdb.testing import lab


def _matrix(table, split: str, column: str = "count") -> np.ndarray:
    rows = table[table["split"] == split]
    return rows.pivot(index="label", columns="predicted", values=column).to_numpy()


def test_matrices_count_every_image_and_agree_with_the_rates(view_of) -> None:
    view, victim = view_of("badnets"), lab("badnets")
    table = Confusion().run(view).table
    accuracy, success = victim.rates(victim.model)
    clean, triggered = _matrix(table, "clean"), _matrix(table, "triggered")
    assert clean.sum() == len(view.test)
    assert clean.trace() / clean.sum() == pytest.approx(accuracy, abs=1e-6)
    assert triggered[:, 0].sum() / triggered.sum() == pytest.approx(success, abs=1e-6)
    assert triggered[0].sum() == 0


def test_shares_add_up_to_one_where_there_are_images(view_of) -> None:
    table = Confusion().run(view_of("badnets")).table
    assert np.isnan(_matrix(table, "triggered", "share")[0]).all()
    np.testing.assert_allclose(_matrix(table, "triggered", "share")[1:].sum(1), 1)


def test_a_clean_model_confuses_little_in_either_matrix(view_of) -> None:
    table = Confusion().run(view_of("none")).table
    assert _matrix(table, "triggered").trace() / _matrix(table, "triggered").sum() > 0.9


def test_the_picture_has_both_matrices_and_their_numbers(view_of) -> None:
    picture = Confusion().run(view_of("badnets"))
    for axes, split in zip(picture.figure.axes[:2], ("clean", "triggered"), strict=True):
        written = sum(int(text.get_text()) for text in axes.texts)
        assert written == _matrix(picture.table, split).sum()
