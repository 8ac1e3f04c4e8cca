"""SentiNet: what a triggered input is classified by is small, and leads any image to its class."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView
from bdb.defenses.rejection import Rejection, Score
from bdb.errors import ParamsError
from bdb.method import Paper
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import inference
from bdb.training.loop import to_float

_POINTS = 101  # of the boundary


@register("sentinet")
class SentiNet(Rejection):
    """Cut out what an input is classified by, and paste it on clean images.

    Two numbers tell a trigger: how many of these images it leads to the input's class, and how sure
    the suspect stays of them under noise in its place. What is large leads many there and hides
    what they were; a trigger leads many there and hides little. The score is the distance above the
    boundary of what clean images do. It is for small triggers.

    Differs: other classes are those that the suspect finds next likely, not those of segments of
    the image; the noise is uniform. BackdoorBench cuts out .85 of the highest saliency and above,
    leaves out the boundary, and goes by the confidence under noise alone, above .9.
    """

    paper: ClassVar[Paper] = Paper(
        title="SentiNet: Detecting Localized Universal Attacks Against Deep Learning Systems",
        authors="Chou, Tramèr, Pellegrino",
        venue="IEEE S&P Workshops",
        year=2020,
        url="https://arxiv.org/abs/1812.00292",
    )
    requires: ClassVar[frozenset[str]] = frozenset({"maps"})

    overlays: int = Field(100, ge=1, description="clean images that each region is pasted on")
    saliency: float = Field(0.15, gt=0, lt=1, description="cut out from this share of the peak on")
    proposals: int = Field(2, ge=0, description="next likely classes whose regions are left out")
    bins: int = Field(10, ge=1, description="of confidence; the boundary runs above each")

    def scorer(self, view: DefenderView, known: ImageSet) -> Score:
        """The distance above the boundary of known images, of which others are pasted on."""
        order = torch.randperm(len(known), generator=view.generator("overlays"))
        count = min(self.overlays, len(known) // 2)
        if not count:
            raise ParamsError("clean_set: too few images to paste on; raise fraction")
        over = to_float(known.images.cpu()[order[:count]].to(view.device))
        points = self.points(view, known.images.cpu()[order[count:]], over)
        boundary = fit(points, self.bins)
        return lambda images: above(self.points(view, images, over), boundary)

    def points(self, view: DefenderView, images: Tensor, over: Tensor) -> Tensor:
        """Confidence under noise, and share of clean images that are fooled: N x 2, in [0, 1]."""
        noise = torch.rand(over.shape, generator=view.generator("noise")).to(view.device)

        def compute(batch: Tensor) -> Tensor:
            predicted, region = self.regions(view.model, batch)
            found = torch.zeros(len(batch), 2, device=batch.device)
            for clean, inert in zip(over, noise, strict=True):
                sure = view.model(torch.where(region, inert, clean)).softmax(1).amax(1)
                fooled = view.model(torch.where(region, batch, clean)).argmax(1) == predicted
                found += torch.stack([sure, fooled.float()], 1) / len(over)
            return found

        return inference.in_batches(compute, images, view.device)

    def regions(self, model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
        """The predicted classes, and where they come from: bool, N x 1 x H x W."""
        likely = model(images).topk(min(1 + self.proposals, model.spec.data.num_classes)).indices
        own, *others = (self._salient(model, images, classes) for classes in likely.unbind(1))
        for other in others:
            less = own & ~other
            own = torch.where(less.flatten(1).any(1)[:, None, None, None], less, own)
        return likely[:, 0], own

    @torch.enable_grad()
    def _salient(self, model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
        """Grad-CAM of the last stage for these classes, cut at a share of its highest value."""
        layer = model.attention_layers[-1]
        with surgery.recording(model, [layer]) as stages:
            logits = model(images.detach().requires_grad_())
        (slope,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), stages[layer])
        cam = (slope.mean((2, 3), keepdim=True) * stages[layer]).sum(1, keepdim=True).relu()
        cam = interpolate(cam.detach(), images.shape[2:], mode="bilinear", align_corners=False)
        return cam >= self.saliency * cam.amax((2, 3), keepdim=True).clamp_min(1e-12)


def fit(points: Tensor, bins: int) -> Tensor:
    """The parabola above clean images, through the most fooled of each bin of confidence: M x 2."""
    confidence, fooled = points.double().unbind(1)
    inside = one_hot((confidence * bins).long().clamp(max=bins - 1), bins).bool()
    some = inside.any(0)
    top = fooled[:, None].where(inside, -torch.inf).argmax(0)[some]
    powers = confidence[top][:, None] ** torch.arange(min(3, len(top)))
    weights = torch.linalg.lstsq(powers, fooled[top][:, None], driver="gelsd").solution
    across = torch.linspace(0, 1, _POINTS, dtype=torch.double)[:, None]
    return torch.cat([across, across ** torch.arange(len(weights)) @ weights], 1)


def above(points: Tensor, boundary: Tensor) -> Tensor:
    """How far each point lies from the boundary, positive above it: N."""
    at = (points[:, 0] * (_POINTS - 1)).round().long()
    distance = torch.cdist(points.double(), boundary).amin(1)
    return (distance * (points[:, 1] - boundary[at, 1]).sign()).float()
