import numpy as np
import pytest
import torch

from bdb.defenses import features, filtering
from bdb.defenses.base import DefenderView, Given, Outcome
from bdb.defenses.features import VictimFeatures
from bdb.defenses.pre_training.ac import ActivationClustering
from bdb.testing import CPU, Lab, lab

FIELDS = {"reduction": "pca", "min_silhouette": 0.25}


@pytest.fixture(scope="module")
def victim() -> Lab:
    return lab("badnets", 0.05)


def detect(victim: Lab, order: torch.Tensor, **fields: float) -> Outcome:
    """Run the defense on a reordered training set, without the training."""
    defense = ActivationClustering.make(retrain=False, **FIELDS | fields)
    train_set = victim.train_set[order]
    found = features.extract(victim.model, train_set.images)
    given = Given(
        model=victim.model,
        train_set=train_set,
        features=VictimFeatures(train=found, clean=victim.features.clean),
    )
    view = DefenderView(
        given, defense.needs, spec=victim.spec, recipe=victim.recipe, seed=0, device=CPU
    )
    return defense.run(view)


@pytest.mark.slow
def test_removes_the_backdoor_by_removing_poison(victim: Lab) -> None:
    from sklearn.metrics import roc_auc_score

    outcome = victim.defend("ac", **FIELDS)
    flagged, poison = outcome.flagged["train"], victim.is_poison()
    assert flagged[poison].float().mean() > 0.75
    assert flagged[~poison].float().mean() < 0.05
    assert roc_auc_score(poison, outcome.scores["train"]) > 0.8
    assert outcome.model is not None
    assert victim.rates(victim.model)[1] > 0.95
    accuracy, success = victim.rates(outcome.model)
    assert accuracy > 0.95
    assert success < 0.4


def test_clusters_whole_classes(victim: Lab) -> None:
    """Poison all at the end, or anywhere: a class clustered batch by batch would notice."""
    poison = victim.is_poison()
    natural = torch.arange(len(poison))
    expected = detect(victim, natural).flagged["train"]
    assert expected.any()
    shuffled = torch.randperm(len(poison), generator=torch.Generator().manual_seed(1))
    for order in (poison.long().argsort(stable=True), natural.flip(0), shuffled):
        found = detect(victim, order).flagged["train"]
        assert torch.equal(found, expected[order])


@pytest.mark.parametrize(("share", "flagged"), [(0.35, True), (0.25, False)])
def test_the_share_gate(victim: Lab, share: float, flagged: bool) -> None:
    """A third of the target class is poison here."""
    order = torch.arange(len(victim.train_set))
    found = detect(victim, order, max_share=share).flagged["train"]
    assert bool(found[victim.train_set.labels == 0].any()) is flagged


@pytest.mark.parametrize("reduction", ["pca", "ica"])
def test_splits_two_clouds(reduction: str) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(100, 32)).astype(np.float32)
    points[:25, 0] += 30
    defense = ActivationClustering.make(reduction=reduction, dimensions=2)
    leaning, silhouette = defense.split(points, seed=0)
    assert (leaning[:25] > 0).all()
    assert (leaning[25:] < 0).all()
    assert np.abs(leaning).max() <= 1
    assert silhouette > 0.4


@pytest.mark.parametrize("reduction", ["pca", "ica"])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_features_of_low_rank(reduction: str, rank: int) -> None:
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(rank, 32))
    points = (7 + rng.normal(size=(100, rank)) @ basis).astype(np.float32)
    defense = ActivationClustering.make(reduction=reduction)
    assert defense.reduce(points, seed=0).shape == (100, rank)
    leaning, silhouette = defense.split(points, seed=0)
    assert np.isfinite(leaning).all()
    assert (silhouette > 0) == (leaning != 0).any() == (rank > 0)


def test_components_are_those_of_sklearn() -> None:
    from sklearn.decomposition import PCA

    points = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    expected = PCA(3, svd_solver="full").fit_transform(points.astype(np.float64))
    np.testing.assert_allclose(np.abs(filtering.principal(points, 3)), np.abs(expected), atol=1e-9)


@pytest.mark.parametrize(("max_own", "guilty"), [(1.0, [True, False]), (1e-6, [False, False])])
def test_reclassification_convicts_what_looks_like_another_class(
    victim: Lab, monkeypatch: pytest.MonkeyPatch, max_own: float, guilty: list[bool]
) -> None:
    """The poison of class 0, and a few ordinary samples of class 4, under a model without them."""
    monkeypatch.setattr(DefenderView, "build_model", lambda *_: lab("none", 0.0).model)
    trained: list[int] = []
    monkeypatch.setattr(
        DefenderView, "fit", lambda _self, _m, data, *_a, **_k: trained.append(len(data))
    )
    defense = ActivationClustering.make(decision="reclassify", max_own=max_own)
    poison = victim.is_poison().nonzero().flatten()
    ordinary = (victim.train_set.labels == 4).nonzero().flatten()[:20]
    assert defense.reclassified(victim.view(defense), [poison, ordinary]) == guilty
    assert trained == [len(victim.train_set) - len(poison) - 20]


def test_size_and_reclassification_are_alternatives(
    victim: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reclassification convicts a cluster whatever its share, and spares others."""
    fields = {**FIELDS, "decision": "reclassify", "max_share": 1e-3, "retrain": False}
    defense = ActivationClustering.make(**fields)
    monkeypatch.setattr(
        ActivationClustering,
        "reclassified",
        lambda _self, view, clusters: [bool(view.train_set.labels[c[0]] == 0) for c in clusters],
    )
    flagged = defense.run(victim.view(defense)).flagged["train"]
    assert flagged[victim.is_poison()].float().mean() > 0.75
    assert not flagged[victim.train_set.labels != 0].any()


@pytest.mark.parametrize(
    ("fields", "flags"), [({"min_silhouette": 0.9}, False), ({"retrain": False}, True)]
)
def test_without_training_again_the_suspect_comes_back(
    victim: Lab, fields: dict[str, float], flags: bool
) -> None:
    """If nothing is flagged, and if that is all that is asked for."""
    outcome = victim.defend("ac", **FIELDS | fields)
    assert outcome.flagged["train"].any() == flags
    assert outcome.model is not None
    for name, tensor in outcome.model.state_dict().items():
        assert torch.equal(tensor, victim.model.state_dict()[name])
