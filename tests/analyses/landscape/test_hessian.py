from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from bdb.analyses.curvature import Hessian, density, lanczos
from bdb.analyses.landscape.hessian import HessianSpectrum
from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.testing import lab


@pytest.fixture(scope="module")
def tiny() -> tuple[Hessian, Tensor]:
    """The Hessian of a net of few weights, as a product and entry by entry."""
    spec = ModelSpec(architecture="convnet", data=lab("badnets").spec.data, fields={"width": 1})
    model = models.build(spec, 0).eval()
    images, labels = lab("badnets").test.images[:20], lab("badnets").test.labels[:20]
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([weight.numel() for weight in weights.values()])
        shaped = {n: part.view_as(weights[n]) for n, part in zip(weights, parts, strict=True)}
        return cross_entropy(functional_call(model, shaped, (images / 255,)), labels)

    flat = torch.cat([weight.flatten() for weight in weights.values()])
    exact = torch.autograd.functional.hessian(loss, flat)
    return Hessian(model, images, labels), exact


def test_products_are_those_of_the_exact_hessian(tiny: tuple[Hessian, Tensor]) -> None:
    product, exact = tiny
    assert len(product) == len(exact) < 1000
    vector = torch.randn(len(exact), generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        np.testing.assert_allclose(product(vector), exact @ vector, rtol=1e-3, atol=1e-4)


def test_the_extremes_are_those_of_the_exact_hessian(tiny: tuple[Hessian, Tensor]) -> None:
    product, exact = tiny
    expected = torch.linalg.eigvalsh(exact.double())
    start = torch.randn(len(exact), generator=torch.Generator().manual_seed(0))
    found = lanczos(product, start, 40)
    scale = float(expected.abs().max())
    assert found.values[-3:].tolist() == pytest.approx(expected[-3:].tolist(), abs=1e-3 * scale)
    assert found.values[0].item() == pytest.approx(expected[0].item(), abs=1e-3 * scale)
    for value, error in zip(found.values, found.errors, strict=True):
        assert (expected - value).abs().min() <= error + 1e-4 * scale


def test_every_eigenvalue_counts_by_its_share_of_the_start() -> None:
    """With as many iterations as eigenvalues, nothing is left to approximate."""
    diagonal = torch.tensor([-2.0, 0.0, 1.0, 5.0])
    start = torch.tensor([1.0, 2.0, 2.0, 4.0])
    found = lanczos(lambda vector: diagonal * vector, start, 10)
    np.testing.assert_allclose(found.values, diagonal, atol=1e-5)
    np.testing.assert_allclose(found.shares, start.square() / 25, atol=1e-5)
    np.testing.assert_allclose(found.errors, 0, atol=1e-5)


def test_the_error_of_one_iteration_by_hand() -> None:
    """The first Ritz value is x'Ax = 2, and |Ax - 2x| = 1 reaches the eigenvalues 1 and 3."""
    diagonal = torch.tensor([1.0, 3.0])
    found = lanczos(lambda vector: diagonal * vector, torch.tensor([1.0, 1.0]), 1)
    assert [each.item() for each in found] == pytest.approx([2, 1, 1])


def test_the_density_adds_up_to_one_and_stands_where_the_values_are() -> None:
    values, shares = torch.tensor([0.0, 10.0]).double(), torch.tensor([0.75, 0.25]).double()
    at = torch.linspace(-5, 15, 2001, dtype=torch.float64)
    curve = density(values, shares, at, 0.1)
    assert torch.trapezoid(curve, at).item() == pytest.approx(1, rel=1e-6)
    assert curve[500].item() == pytest.approx(0.75 / (0.1 * (2 * np.pi) ** 0.5), rel=1e-6)
    assert curve[1500].item() == pytest.approx(curve[500].item() / 3, rel=1e-6)


def test_the_table_is_the_iteration_of_each_task() -> None:
    table = (
        HessianSpectrum(iterations=5, draws=2, samples=20)
        .run(lab("badnets").analyst_view(HessianSpectrum.needs))
        .table
    )
    groups = table.groupby(["task", "draw"])
    assert len(groups) == 4
    np.testing.assert_allclose(groups["share"].sum(), 1)
    assert all(rows["value"].is_monotonic_decreasing for _, rows in groups)


def test_the_victim_lies_in_a_valley_of_the_backdoor_and_a_clean_model_does_not() -> None:
    view = lab("badnets").analyst_view(HessianSpectrum.needs)
    clean = lab("none", 0.0).model
    lowest = {}
    for name, model in (("victim", view.model), ("clean", clean)):
        seen = replace(view, given={**view.given, "model": model})
        table = HessianSpectrum(iterations=15).run(seen).table
        for task, rows in table.groupby("task"):
            lowest[name, task] = rows["value"].min() / rows["value"].max()
    assert lowest["victim", "backdoor"] > -0.25
    assert lowest["victim", "clean"] > -0.25
    assert lowest["clean", "clean"] > -0.25
    assert lowest["clean", "backdoor"] < -0.4


def test_attention_has_a_second_derivative() -> None:
    """The fast kernels of torch have none."""

    class Attending(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, images: Tensor) -> Tensor:
            tokens = images[:, 0, :8, :8]
            mixed: Tensor = self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1)
            return mixed

    product = Hessian(Attending().eval(), lab("badnets").test.images[:4], torch.arange(4))
    found = lanczos(product, torch.ones(len(product)), 3)
    assert found.values.isfinite().all()
    assert found.values.abs().max() > 0
