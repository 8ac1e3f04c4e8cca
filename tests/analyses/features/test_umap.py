import sys

import numpy as np
import pandas as pd
import pytest

from bdb.analyses.features.tsne import TSNE
from bdb.analyses.features.umap import UMAP
from bdb.errors import ParamsError
from bdb.testing import lab


@pytest.mark.evidence
def test_groups_that_lie_apart_stay_apart() -> None:
    """Two clouds: the embedding's larger axis parts them without a mistake."""
    pytest.importorskip("umap")
    clouds = np.random.default_rng(0).normal(size=(120, 16)).astype(np.float32)
    clouds[:60] += 8
    points = UMAP().embed(clouds, 3)
    assert points.shape == (120, 2)
    np.testing.assert_array_equal(points, UMAP().embed(clouds, 3))
    gap = points[:60].mean(0) - points[60:].mean(0)
    across = points @ (gap / np.linalg.norm(gap))
    assert across[:60].min() > across[60:].max()


@pytest.mark.evidence
def test_triggered_images_leave_their_class_and_those_of_the_control_do_not() -> None:
    pytest.importorskip("umap")
    for seed in range(3):
        views = (
            lab(*of, seed).analyst_view(UMAP.needs) for of in (("badnets", 0.1), ("none", 0.0))
        )
        victim, control = (_at_home(UMAP().run(view).table) for view in views)
        assert victim < 0.5
        assert control > 0.8


def _at_home(table: pd.DataFrame) -> float:
    """The share of the triggered whose nearest class, by its median, is their true one."""
    clean, triggered = (table[table["split"] == split] for split in ("clean", "triggered"))
    middles = clean.groupby("label")[["x", "y"]].median().to_numpy()
    distances = np.linalg.norm(triggered[["x", "y"]].to_numpy()[:, None] - middles, axis=2)
    return float((distances.argmin(1) == triggered["label"]).mean())


@pytest.mark.evidence
def test_few_points_are_embedded_all_the_same(view_of) -> None:
    pytest.importorskip("umap")
    table = UMAP(clean=10, triggered=1, classes=2).run(view_of("badnets")).table
    assert table[["x", "y"]].notna().all(axis=None)


def test_it_draws_as_tsne_does(view_of) -> None:
    pytest.importorskip("umap")
    ours, theirs = (tool(clean=40, triggered=10).run(view_of("badnets")) for tool in (UMAP, TSNE))
    assert (ours.table["split"] == theirs.table["split"]).all()
    assert list(ours.table.columns) == list(theirs.table.columns)
    assert "under UMAP" in ours.figure.get_suptitle()


def test_without_the_library_it_says_what_to_install(
    view_of, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    message = r"^umap needs umap-learn, .*pip install 'bdb\[analyses\]', or leave it out$"
    with pytest.raises(ParamsError, match=message):
        UMAP(clean=10, triggered=2).run(view_of("badnets"))
