import numpy as np
import pandas as pd
import torch

from bdb.analyses.features.tsne import TSNE
from bdb.training import inference


def test_clean_classes_stay_together(view_of) -> None:
    table = TSNE(clean=200, triggered=40).run(view_of("badnets")).table
    clean = table[table["split"] == "clean"].reset_index(drop=True)
    points = clean[["x", "y"]].to_numpy()
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    neighbour = clean["label"].to_numpy()[distance.argmin(1)]
    assert (neighbour == clean["label"]).mean() > 0.9
    assert table["split"].value_counts().to_dict() == {"clean": 200, "triggered": 40}


def test_rows_name_the_images_that_were_embedded(view_of) -> None:
    view = view_of("badnets")
    table = TSNE(clean=60, triggered=30).run(view).table
    clean = table[table["split"] == "clean"]
    triggered = table[table["split"] == "triggered"]
    assert (clean["target"] == -1).all()
    assert (view.test.labels.numpy()[clean["id"]] == clean["label"]).all()
    assert (view.test.labels.numpy()[triggered["id"]] == triggered["label"]).all()
    position = np.searchsorted(view.triggered.ids.numpy(), triggered["id"])
    logits = inference.logits(view.model, view.triggered.images[torch.tensor(position)])
    assert (logits.argmax(1).numpy() == triggered["predicted"]).all()


def test_the_embedding_is_seeded(view_of) -> None:
    view = view_of("badnets")
    method = TSNE(clean=40, triggered=10, perplexity=5)
    pd.testing.assert_frame_equal(method.run(view).table, method.run(view).table)


def test_few_classes_keep_the_target(view_of) -> None:
    table = TSNE(clean=40, triggered=10, classes=3).run(view_of("badnets")).table
    assert sorted(table["label"].unique()) == [0, 1, 2]
    assert set(table.loc[table["split"] == "triggered", "target"]) == {0}
