import pytest
import torch
from torch import Tensor, nn

from bdb.datasets.base import ImageSet
from bdb.defenses import splitting
from bdb.defenses.base import DefenderView
from bdb.defenses.heads import fit_head
from bdb.defenses.in_training.dbd import Decoupling
from bdb.models import base as models
from bdb.testing import Lab
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 1.0), (1.0, 0.0), (0.0, 2.0)])
def test_the_loss_is_the_symmetric_one(alpha: float, beta: float) -> None:
    """Wang et al., equation 7, with 1e-4 for the zeros of the labels."""
    logits, labels = torch.randn(20, 5), torch.arange(20) % 5
    given = nn.functional.one_hot(labels, 5).float()
    predicted = logits.softmax(1)
    forward = -(given * predicted.log()).sum(1)
    backward = -(predicted * given.clamp_min(1e-4).log()).sum(1)
    found = Decoupling.make(alpha=alpha, beta=beta).symmetric(logits, labels)
    torch.testing.assert_close(found, alpha * forward + beta * backward)


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(10, 0.5, 5), (10, 0.01, 1), (10, 0.99, 9), (1, 0.5, 1)]
)
def test_the_lowest_are_a_part(count: int, share: float, expected: int) -> None:
    values = torch.randperm(count).float()
    assert torch.equal(splitting.lowest(values, share), values < expected)


def test_each_class_gives_its_first() -> None:
    labels = torch.tensor([2, 0, 2, 2, 0, 2, 7])
    chosen = splitting.first_of_each_class(labels, 2)
    assert chosen.nonzero()[:, 0].tolist() == [0, 1, 2, 4, 6]
    assert splitting.first_of_each_class(labels, 2, 0.5).nonzero()[:, 0].tolist() == [0, 1, 2]
    assert not splitting.first_of_each_class(labels, 0).any()


def test_both_parts_reach_the_step_and_are_asked_for_once_a_pass(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    defense = Decoupling.make(iterations=5, batch_size=8)
    view = badnets.view(defense)
    data, asked = view.train_set[torch.arange(60)], []
    seen: dict[str, list[Tensor]] = {"labelled": [], "others": []}

    def split(epoch: int) -> splitting.Parts:
        asked.append(epoch)
        first = torch.arange(60) < 20 * (epoch + 1)
        return data[first], data[~first]

    class Spy(splitting.MixMatch):
        def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
            assert batch.other is not None
            seen["labelled"].append(batch.ids)
            seen["others"].append(batch.other.ids)
            return super().__call__(model, batch)

    monkeypatch.setattr(splitting, "MixMatch", Spy)
    defense.fine_tune(view, view.build_model("x"), 2, split)
    assert asked == [0, 1]
    assert [len(ids) for ids in seen["labelled"]] == [8] * 10
    first, second = (torch.cat(seen["labelled"][part]) for part in (slice(5), slice(5, 10)))
    assert sorted(first.bincount().tolist()) == [2] * 20
    assert second.max() < 40
    assert min(ids.min() for ids in seen["others"][:5]) >= 20
    assert min(ids.min() for ids in seen["others"][5:]) >= 40


def test_joined_sets_keep_what_belongs_together(badnets: Lab) -> None:
    one, two = badnets.train_set[torch.arange(3)], badnets.clean_set[torch.arange(2)]
    both: ImageSet = splitting.join(one, two)
    assert len(both) == 5
    assert torch.equal(both.images[3:], two.images)
    assert torch.equal(both.labels[:3], one.labels)


def test_a_head_is_trained_alone(badnets: Lab) -> None:
    view: DefenderView = badnets.view(Decoupling())
    model = models.duplicate(badnets.model)
    fit_head(view, model, view.train_set[torch.arange(64)], Recipe(epochs=1, batch_size=32))
    before = badnets.model.state_dict()
    changed = {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert all(parameter.requires_grad for parameter in model.parameters())
