import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.attacks.soft_labels import Search
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.training import optimizers
from bdb.training.loop import Batch, to_float


def samples(count: int, seed: int, labels: Tensor) -> ImageSet:
    draws = torch.Generator().manual_seed(seed)
    return ImageSet.whole(torch.randint(256, (count, 1, 2, 2), generator=draws).byte(), labels)


def network(*layers: nn.Module) -> nn.Module:
    """Norms and a linear layer; its first weights are drawn by a seed of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 3))


def search(poisons: int = 5, interval: int = 1) -> Search:
    clean, wanted = samples(12, 1, torch.arange(12) % 3), torch.ones(poisons).long()
    draws = torch.Generator().manual_seed(0)
    return Search(clean, samples(poisons, 2, wanted), 3, (0.3, 0.5), 100, interval, draws)


def everything(found: Search) -> Batch:
    data = found.data
    draws = torch.Generator().manual_seed(0)
    return Batch(data.images, data.labels, data.ids, 0, Augmentation(), draws)


def test_at_the_start_the_steps_differ_by_the_poisons_gradient() -> None:
    found, model = search(), network(nn.BatchNorm2d(1))
    logits = model(to_float(found.data.images))[12:]
    loss = cross_entropy(logits, found.data.labels[12:], reduction="sum") / 17
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    expected = sum(float(slope.square().sum()) for slope in slopes)
    distance = found.distance(model, torch.arange(17))
    torch.testing.assert_close(float(distance.detach()), expected, rtol=1e-4, atol=0)


def test_without_poisons_they_are_the_same() -> None:
    assert float(search(0).distance(network(), torch.arange(12)).detach()) == 0


def test_soft_labels_bring_them_nearer_and_leave_the_model_alone() -> None:
    found, model = search(), network(nn.BatchNorm2d(1))
    optimizer, batch = torch.optim.SGD(model.parameters(), 0.1), everything(found)
    cross_entropy(model(batch.images), batch.labels).backward()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    start = float(found.distance(model, torch.arange(17)).detach())
    for _ in range(20):
        found.match(model, batch, optimizer)
    assert float(found.distance(model, torch.arange(17)).detach()) < 0.5 * start
    assert torch.equal(found.labels[12:], found.expert[12:])
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())


def test_labels_move_every_so_many_steps() -> None:
    found, model = search(interval=3), network()
    optimizer, batch = torch.optim.SGD(model.parameters(), 0.1), everything(found)
    cross_entropy(model(batch.images), batch.labels).backward()
    moved = []
    for _ in range(6):
        before = found.labels.detach().clone()
        found.match(model, batch, optimizer)
        moved.append(not torch.equal(before, found.labels))
    assert moved == [False, False, True, False, False, True]


def test_a_stride_is_what_sgd_steps() -> None:
    model, batch = network(), everything(search())
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(model(batch.images), batch.labels).backward()
        expected = float(optimizers.stride(optimizer))
        before = [weight.detach().clone() for weight in model.parameters()]
        optimizer.step()
        pairs = zip(before, model.parameters(), strict=True)
        moved = sum(float((new.detach() - old).square().sum()) for old, new in pairs) / 0.1**2
        assert abs(moved - expected) < 1e-3 * expected
