import dataclasses

import numpy as np
import pytest
import torch

from bdb.analyses.attribution.gradcam import GradCAM
from bdb.errors import ParamsError
from bdb.models import base as models
from bdb.models import surgery
from bdb.models.convnet import SmallResNet


def test_the_trigger_draws_the_eye(view_of) -> None:
    table = GradCAM(samples=60).run(view_of("badnets")).table
    hit = table[table["predicted_triggered"] == table["target"]]
    assert (hit["saliency_triggered"] > hit["saliency_clean"]).mean() > 0.9
    assert hit["focus"].median() > 1.5
    assert table["area"].between(1 / 1024, 9 / 1024).all()
    assert hit["overlap"].mean() < 0.9


def test_without_a_trigger_both_maps_are_the_same(view_of) -> None:
    table = GradCAM(samples=30).run(view_of("none")).table
    assert (table["area"] == 0).all()
    assert table["focus"].isna().all()
    assert table["overlap"].dropna().to_numpy() == pytest.approx(1)


def test_saliency_is_the_weighted_sum_of_the_last_stage(view_of) -> None:
    """Against the paper's formula, written out by hand."""
    view = view_of("badnets")
    images, classes = view.test.images[:3], view.test.labels[:3]
    kept = {}

    def keep(_: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        output.retain_grad()
        kept["maps"] = output

    handle = view.model.get_submodule("layer3").register_forward_hook(keep)
    logits = view.model(images.float() / 255)
    logits.gather(1, classes[:, None]).sum().backward()
    handle.remove()
    weights = kept["maps"].grad.mean((2, 3), keepdim=True)
    maps = (weights * kept["maps"]).sum(1, keepdim=True).relu().detach()
    expected = torch.nn.functional.interpolate(maps, (32, 32), mode="bilinear", align_corners=False)
    view.model.zero_grad(set_to_none=True)
    torch.testing.assert_close(
        GradCAM().saliency(view, images, classes), expected[:, 0], rtol=1e-4, atol=1e-5
    )


def test_a_place_of_an_earlier_stage_is_weighted_by_its_own_gradient(view_of) -> None:
    """LayerCAM's formula by hand, and what it is for: a small trigger fills a place of its map."""
    view = view_of("badnets")
    images, classes = view.test.images[:3], view.test.labels[:3]
    with surgery.recording(view.model, ["layer2"]) as seen:
        logits = view.model(images.float() / 255)
    (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), seen["layer2"])
    maps = (seen["layer2"] * gradient.relu()).sum(1, keepdim=True).relu().detach()
    expected = torch.nn.functional.interpolate(maps, (32, 32), mode="bilinear", align_corners=False)
    sharp = GradCAM(samples=60, stage=2, local=True)
    torch.testing.assert_close(
        sharp.saliency(view, images, classes), expected[:, 0], rtol=1e-4, atol=1e-5
    )
    focus = [look.run(view).table["focus"].median() for look in (GradCAM(samples=60), sharp)]
    assert focus[1] > 1.2 * focus[0]


def test_the_caption_says_how_coarse_the_maps_are(view_of) -> None:
    figure = GradCAM(samples=4, shown=2, stage=2).run(view_of("badnets")).figure
    assert "Maps of layer2, 8 x 8" in " ".join(figure.get_supxlabel().split())


def test_a_stage_that_is_not_there_is_refused(view_of) -> None:
    with pytest.raises(ParamsError, match=r"gradcam\.stage: 9"):
        GradCAM(samples=2, stage=9).run(view_of("badnets"))


def test_a_wrapped_model_can_be_looked_at(view_of) -> None:
    view = view_of("badnets")
    wrapped = models.wrap(models.duplicate(view.model), "feature_mask").eval()
    images, classes = view.test.images[:2], view.test.labels[:2]
    inside = GradCAM().saliency(
        dataclasses.replace(view, given={"model": wrapped}), images, classes
    )
    np.testing.assert_allclose(
        inside, GradCAM().saliency(view, images, classes), rtol=1e-4, atol=1e-6
    )


def test_a_model_without_stages_is_refused(view_of, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SmallResNet, "attention_layers", ())
    with pytest.raises(ParamsError, match="attention_layers"):
        GradCAM(samples=2).run(view_of("badnets"))


def test_the_picture_has_four_rows(view_of) -> None:
    figure = GradCAM(samples=12, shown=3).run(view_of("badnets")).figure
    assert len(figure.axes) == 12
    assert all("on trigger" in axes.get_xlabel() for axes in figure.axes[9:])
