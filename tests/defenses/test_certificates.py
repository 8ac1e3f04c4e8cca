"""What a defended model certifies: kept with its predictions, and checked like any answer."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bdb.defenses import certificates
from bdb.defenses.base import DefenderView, ModelLevel, Outcome, PostTraining
from bdb.errors import BdbError, RegistryError
from bdb.models import base as models
from bdb.models.base import Classifier, wrapper
from bdb.testing import Lab, check_defense


@wrapper("gap_votes")
class GapVotes(models.Wrapper):
    """Certifies by the gap between the two best logits; abstains where it is small."""

    def __init__(self, inner: Classifier, sign: int = 1) -> None:
        super().__init__(inner)
        self.sign = sign

    def certificates(self, images: Tensor) -> Tensor:
        """The gap; NaN below 0.1."""
        best = self(images).topk(2, 1).values
        gap = best[:, 0] - best[:, 1]
        return self.sign * gap.where(gap > 0.1, torch.nan)


class Certifier(PostTraining):
    """Certifies the model that it is given."""

    name = "certifier"
    needs = frozenset({"model"})
    certifies = "gap of logits"
    sign: int = 1

    def run(self, view: DefenderView) -> Outcome:
        return Outcome(model=models.wrap(view.model, "gap_votes", sign=self.sign))


def test_the_checker_accepts_certificates() -> None:
    check_defense(Certifier)


def test_a_certificate_is_of_each_image(badnets: Lab) -> None:
    model = models.wrap(badnets.model, "gap_votes")
    found = certificates.of(model, badnets.test.images, Certifier())
    assert found.shape == (len(badnets.test),)
    assert found.dtype == torch.float32
    known = found[~found.isnan()]
    assert len(known) > 100
    assert known.min() > 0.1


def test_the_checker_refuses_a_certificate_that_depends_on_the_batch() -> None:
    @wrapper("batch_votes")
    class BatchVotes(GapVotes):
        """Certifies more in larger batches."""

        def certificates(self, images: Tensor) -> Tensor:
            return torch.full((len(images),), float(len(images)))

    class Batched(Certifier):
        """Its wrapper looks at the batch."""

        def run(self, view: DefenderView) -> Outcome:
            return Outcome(model=models.wrap(view.model, "batch_votes"))

    with pytest.raises(AssertionError, match="certificates: the batch"):
        check_defense(Batched)


class Silent(Certifier):
    """Declares certificates, and has none."""

    def run(self, view: DefenderView) -> Outcome:
        return Outcome(model=view.model)


@pytest.mark.parametrize(
    ("defense", "fields", "said"),
    [
        (Silent, {}, r"^certifier: certifies is set, but its model has no certificates\(\)$"),
        (
            Certifier,
            {"sign": -1},
            "^certifier: certificate -[0-9.]+; allowed are at least 0",
        ),
    ],
)
def test_wrong_certificates_are_refused_in_a_line(
    defense: type[Certifier], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(BdbError, match=said):
        check_defense(defense, **fields)


def test_only_a_model_can_certify() -> None:
    with pytest.raises(RegistryError, match="certifies 'l2', but gives no model"):

        class Talks(ModelLevel):
            """Has no model of its own."""

            certifies = "l2"
