"""Whether a channel answers to a class or to the trigger."""

import numpy as np
import pandas as pd

from bdb.analyses.neurons.activation_classes import TRIGGERED, ActivationClasses


def _shares(table: pd.DataFrame, label: int) -> pd.Series:
    return table[table["label"] == label].set_index("channel")["share"]


def test_counts_by_hand(plain) -> None:
    """Six images of each class and six triggered ones, the four that excite a channel most."""
    table = ActivationClasses(top=4).run(plain).table
    assert len(table) == 3 * 3
    np.testing.assert_allclose(table["expected"], 1 / 3)
    counts = table.pivot(index="channel", columns="label", values="count")
    assert counts.loc[1].tolist() == [4, 0, 0]  # green: the triggered alone
    assert counts.loc[2].tolist() == [0, 2, 2]  # red less green: images 11, 10, 9, 8
    assert counts.loc[0].tolist() == [2, 1, 1]  # red: 11 triggered and not, 10, 9 triggered
    np.testing.assert_allclose(table["share"], table["count"] / 4)


def test_one_kind_can_fill_what_is_looked_at(plain, view_of) -> None:
    assert _shares(ActivationClasses().run(plain).table, TRIGGERED)[1] == 1
    table = ActivationClasses().run(view_of("badnets")).table
    assert table.groupby("channel")["count"].sum().unique().tolist() == [36]


def test_a_victim_has_channels_of_the_trigger_and_a_clean_model_has_none(view_of) -> None:
    of_trigger = _shares(ActivationClasses().run(view_of("badnets")).table, TRIGGERED)
    assert (of_trigger > 0.5).sum() >= 4
    assert of_trigger.iloc[:4].min() > 0.5  # those that the trigger changes most
    assert _shares(ActivationClasses().run(view_of("none")).table, TRIGGERED).max() < 0.4


def test_channels_of_a_clean_model_answer_to_few_classes(view_of) -> None:
    table = ActivationClasses(top=10).run(view_of("none")).table
    assert table.groupby("channel")["share"].max().median() > 0.4


def test_the_picture_writes_each_share(view_of) -> None:
    picture = ActivationClasses(channels=5).run(view_of("badnets"))
    left, right = picture.figure.axes[:2]
    of_trigger = _shares(picture.table, TRIGGERED).iloc[:5]
    assert [int(text.get_text()) for text in left.texts] == [
        round(100 * share) for share in of_trigger if round(100 * share)
    ]
    assert [label.get_text() for label in right.get_xticklabels()] == list("0123456789")
