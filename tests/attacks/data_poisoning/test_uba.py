import pytest
import torch

from bdb.attacks import victims
from bdb.attacks.data_poisoning.uba import UniversalBackdoor, discriminate
from bdb.errors import ParamsError
from bdb.testing import lab, make_context
from bdb.training import inference


@pytest.mark.slow
def test_every_class_is_reached() -> None:
    victim = lab("uba")
    assert inference.accuracy(victim.model, victim.test.images, victim.test.labels) >= 0.97
    triggered = victim.poison.test
    hits = inference.logits(victim.model, triggered.images).argmax(1) == triggered.targets
    for target in range(10):
        assert float(hits[triggered.targets == target].float().mean()) >= 0.85


@pytest.mark.slow
def test_codes_differ_though_classes_are_few() -> None:
    codes = lab("uba").poison.state["codes"]
    assert codes.shape == (10, 30)
    assert len(codes.unique(dim=0)) == 10


def test_the_code_is_written_in_black_and_white() -> None:
    code = torch.tensor([[True, False, True, True], [False, True, False, False]])
    attack = UniversalBackdoor(rows=2, columns=2, patch_size=3)
    images, ids = torch.full((2, 3, 8, 9), 100, dtype=torch.uint8), torch.arange(2)
    found = attack.stamp(images, {"codes": code}, role="test", ids=ids, targets=ids.flip(0))
    assert found[0, 1, [0, 0, 3, 3], [0, 3, 0, 3]].tolist() == [0, 255, 0, 0]
    assert found[1, 1, [2, 2, 5, 5], [2, 5, 2, 5]].tolist() == [255, 0, 255, 255]
    assert bool((found[:, :, 6:] == 100).all())
    assert bool((found[:, :, :, 6:] == 100).all())


@pytest.mark.parametrize(("fields", "name"), [({"rows": 17}, "rows"), ({"columns": 17}, "columns")])
def test_a_grid_that_does_not_fit_is_refused(fields: dict[str, int], name: str) -> None:
    context, _ = make_context(size=50)
    with pytest.raises(ParamsError, match=rf"^uba\.{name}: 17 of 2 pixels need 34, but the"):
        victims.planned(UniversalBackdoor(**fields), 0.1, context)


def test_classes_that_lie_close_share_more_bits() -> None:
    """Two pairs of classes far apart along the first feature, near along the second."""
    middles = torch.tensor([[9.0, 0.5, 0], [9.0, -0.5, 0], [-9.0, 0, 0.5], [-9.0, 0, -0.5]])
    labels = torch.arange(4).repeat(50)
    noise = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    found = discriminate(middles[labels] + noise, labels, 4)
    assert found.shape == (4, 3)
    first = found[:, 0] > 0
    assert first[0] == first[1] != first[2] == first[3]


def test_linear_discriminants_are_those_of_scikit_learn() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (300,), generator=generator)
    middles = 2 * torch.randn(4, 6, generator=generator)
    features = middles[labels] + torch.randn(300, 6, generator=generator)
    theirs = LinearDiscriminantAnalysis().fit(features.numpy(), labels.numpy())
    projected = torch.from_numpy(theirs.transform(features.numpy()))
    expected = torch.stack([projected[labels == label].mean(0) for label in range(4)])
    found = discriminate(features, labels, 4)
    for column in range(3):
        correlation = torch.corrcoef(torch.stack([found[:, column], expected[:, column].double()]))
        assert abs(float(correlation[0, 1])) > 0.999


def test_a_class_without_samples_lies_in_the_middle() -> None:
    features = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    found = discriminate(features, torch.arange(60) % 3, 4)
    assert bool((found[3] == 0).all())
    assert bool(found.isfinite().all())


def test_features_that_are_all_alike_give_no_error() -> None:
    found = discriminate(torch.ones(30, 5), torch.arange(30) % 3, 3)
    assert bool(found.isfinite().all())
