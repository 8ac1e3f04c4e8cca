"""The favourite images of the channels that the trigger moves."""

import numpy as np

from bdb.analyses.neurons.top_images import TopImages


def test_ranks_by_hand(plain) -> None:
    """Green is excited by the triggered alone; red less green by the clean images of most red."""
    table = TopImages(shown=6).run(plain).table
    assert set(table["channel"][:12]) == {1, 2}  # the trigger moves both by a quarter
    green, both, red = (table[table["channel"] == channel] for channel in (1, 2, 0))
    assert set(green["split"]) == {"triggered"}
    np.testing.assert_allclose(green["activation"], 0.25)
    assert both["split"].tolist() == ["clean"] * 6
    assert both["id"].tolist() == [11, 10, 9, 8, 7, 6]
    assert both["label"].tolist() == [1, 0, 1, 0, 1, 0]
    np.testing.assert_allclose(both["activation"], np.arange(11, 5, -1) * 10 / 255, rtol=1e-5)
    assert red["id"].tolist() == [11, 11, 10, 9, 9, 8]
    assert red["rank"].tolist() == [1, 2, 3, 4, 5, 6]


def test_the_trigger_excites_a_victim_s_channels_most(view_of) -> None:
    table = TopImages(channels=4).run(view_of("badnets")).table
    assert len(table) == 40
    assert (table["split"] == "triggered").mean() > 0.9
    assert table.groupby("channel")["activation"].is_monotonic_decreasing.all()


def test_without_a_trigger_either_twin_is_as_good(view_of) -> None:
    table = TopImages(channels=4).run(view_of("none")).table
    assert 0.3 < (table["split"] == "triggered").mean() < 0.7


def test_the_picture_shows_the_images_of_the_table(view_of) -> None:
    view = view_of("badnets")
    picture = TopImages(channels=2, shown=3).run(view)
    assert len(picture.figure.axes) == 6
    for axes, entry in zip(picture.figure.axes, picture.table.itertuples(), strict=True):
        images = view.test.images
        if entry.split == "triggered":
            images = view.triggered.images
        at = (
            int(entry.id) if entry.split == "clean" else view.triggered.ids.tolist().index(entry.id)
        )
        expected = images[at].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(axes.images[0].get_array(), expected)
        assert axes.get_xlabel() == f"{entry.label}\n{entry.activation:.3g}"
