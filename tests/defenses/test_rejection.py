import dataclasses

import pytest
import torch
from torch import Tensor

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView
from bdb.defenses.rejection import Rejection, Score
from bdb.errors import ParamsError
from bdb.testing import Lab


class Brightness(Rejection):
    """The brighter, the more suspicious."""

    name = "brightness"

    def scorer(self, view: DefenderView, known: ImageSet) -> Score:
        self.__dict__["known"] = known  # for the test to look at
        return lambda images: images.float().mean((1, 2, 3))


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
def test_so_many_clean_images_are_rejected(badnets: Lab, rate: float) -> None:
    """Half of 287 clean images set the threshold of 364: the rate is as far off as they allow."""
    defense = Brightness(false_positive_rate=rate)
    outcome = defense.run(badnets.view(defense))
    truth = badnets.inputs()[1]
    found = float(outcome.flagged["inputs"][~truth].float().mean())
    assert found == pytest.approx(rate, abs=3 * (rate * (1 - rate) * (1 / 143 + 1 / 364)) ** 0.5)


def test_the_images_that_set_the_threshold_are_held_out(badnets: Lab) -> None:
    defense = Brightness(held_out=0.25, false_positive_rate=0.3)
    view = badnets.view(defense)
    outcome = defense.run(view)
    known: ImageSet = defense.__dict__["known"]
    held = view.split_clean(0.25)[1]
    assert len(known) + len(held) == len(badnets.clean_set)
    assert not set(known.ids.tolist()) & set(held.ids.tolist())
    above = outcome.scores["inputs"] > held.images.float().mean((1, 2, 3)).quantile(0.7)
    assert torch.equal(outcome.flagged["inputs"], above)


def test_what_ties_with_the_threshold_is_not_rejected(badnets: Lab) -> None:
    class Same(Brightness):
        """All alike."""

        def scorer(self, view: DefenderView, known: ImageSet) -> Score:
            return lambda images: torch.ones(len(images))

    defense = Same()
    flagged: Tensor = defense.run(badnets.view(defense)).flagged["inputs"]
    assert not flagged.any()


def test_a_single_clean_image_is_refused(badnets: Lab) -> None:
    single = dataclasses.replace(badnets, clean_set=badnets.clean_set[torch.arange(1)])
    defense = Brightness()
    with pytest.raises(ParamsError, match="clean_set: 1 image cannot be split"):
        defense.run(single.view(defense))
