import pandas as pd
import torch
from torch import Tensor, nn

from bdb.attacks import poisoning
from bdb.attacks.data_poisoning.badnets import BadNets
from bdb.attacks.training_controlled.wanet import WaNet
from bdb.datasets.base import ImageSet
from bdb.metrics import classification
from bdb.stages import predictions
from bdb.testing import CPU, digits, make_context


class Always(nn.Module):
    """Says the same class of every image."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.eye(10)[1])

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


def images() -> ImageSet:
    return digits().test[torch.arange(40)]


def tables() -> tuple[pd.DataFrame, ImageSet]:
    context, test = make_context()[0], images()
    attack = WaNet()
    state = attack.prepare_trigger(context)
    crossed = poisoning.crossed_test(attack, state, test, CPU)
    triggered = poisoning.triggered_test(attack, context, state, test)
    return predictions.make(Always(), test, triggered, crossed), crossed


def test_every_test_image_is_crossed_under_its_true_label() -> None:
    table, crossed = tables()
    test = images()
    assert torch.equal(crossed.ids, test.ids)
    assert torch.equal(crossed.labels, test.labels)
    assert not torch.equal(crossed.images, test.images)
    assert (table["split"] == "cross").sum() == len(test)
    share = float((test.labels == 1).float().mean())
    assert abs(classification.cross_accuracy(table) - share) < 1e-6


def test_an_attack_without_such_triggers_has_no_crossed_images() -> None:
    assert len(poisoning.crossed_test(BadNets(), {}, images(), CPU)) == 0


def test_a_detector_leaves_crossed_images_out() -> None:
    table, _ = tables()
    kept = predictions.reject(table, pd.DataFrame({"source": ["test"], "index": [0]}))
    assert set(kept["split"]) == {"test", "triggered"}
    assert list(kept[kept["predicted"] == predictions.REJECTED]["index"]) == [0]
