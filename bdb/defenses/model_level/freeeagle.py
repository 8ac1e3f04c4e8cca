"""FreeEagle: whatever is of one class, as the network sees it, is a little of the target's too."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from bdb.console import track
from bdb.defenses.base import DefenderView, ModelLevel, Outcome
from bdb.errors import ParamsError
from bdb.method import Paper
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.registry import register

_CLASSES = 64  # searched at once; bounds memory where there are many


@register("freeeagle")
class FreeEagle(ModelLevel):
    """Search for maps of every class inside the network, and see what else these are taken for.

    No data are needed. Each class's maps have some probability of every other class; the target of
    a backdoor has an unusual share of it. Of 106 narrow models of digits (preset `population`) that
    holds behind the last stage and after few steps alone (3 and 10): the suspect is the target of
    every patch and of every WaNet, and scores part from those of 26 clean models with AUROC .99 and
    .96, a patch at ratio .05 with .92. As published, scores say nothing there (.53). Triggers that
    cover the image (`blended`, .36), little poison and all-to-all score as clean models do,
    adversarially trained ones as backdoored (.87).

    Differs: there is no threshold, and the verdict decides nothing. The paper's 2 interquartile
    ranges would suspect 68 % of those clean models; scores of clean models like it say what one is
    worth.
    """

    paper: ClassVar[Paper] = Paper(
        title="FreeEagle: Detecting Complex Neural Trojans in Data-Free Cases",
        authors="Fu, Zhang, Ji, Wang, Lin, Feng, Yin",
        venue="USENIX Security",
        year=2023,
        url="https://arxiv.org/abs/2302.14500",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model"})
    requires: ClassVar[frozenset[str]] = frozenset({"maps"})
    evidence: ClassVar[tuple[str, ...]] = ("tendency",)
    min_classes: ClassVar[int] = 4  # Of fewer there are no quartiles.

    layer: int = Field(2, ge=1, description="stage behind which the network is cut, from 1")
    steps: int = Field(1000, ge=1, description="of the search for each class's maps")
    lr: float = Field(0.01, gt=0, description="learning rate of the search")
    weight_decay: float = Field(0.005, ge=0, description="pull of the maps towards zero")

    def run(self, view: DefenderView) -> Outcome:
        """Score the model by how far the largest tendency lies above the upper quartile.

        Raises:
            ParamsError: the network has no such stage, or cannot be cut.
        """
        tendency = tendencies(self.posteriors(view))
        lower, upper = tendency.quantile(torch.tensor([0.25, 0.75])).tolist()
        beyond = (tendency - upper) / max(upper - lower, 1e-12)
        verdict = {"suspect": int(beyond.argmax()), "score": float(beyond.max())}
        return Outcome(verdict=verdict, evidence={"tendency": tendency})

    def posteriors(self, view: DefenderView) -> Tensor:
        """What the maps found for each class are taken for: float32, K x K, on the CPU."""
        layer = self._stage(view.model)
        groups = torch.arange(view.data.num_classes).split(_CLASSES)
        return torch.cat([self.search(view, layer, group) for group in track(groups, "maps")])

    def search(self, view: DefenderView, layer: str, classes: Tensor) -> Tensor:
        """Probabilities of all classes for the maps of these, whatever their company: n x K."""
        model = view.model.requires_grad_(False)
        shape, least = _maps_like(model, layer)
        starts = [torch.rand(shape, generator=view.generator("maps", int(c))) for c in classes]
        maps = torch.stack(starts).to(view.device).requires_grad_()
        wanted = classes.to(view.device)
        adam = torch.optim.Adam([maps], self.lr, weight_decay=self.weight_decay)
        for _ in range(self.steps):
            loss = cross_entropy(model.tail(layer, maps), wanted, reduction="sum")
            (maps.grad,) = torch.autograd.grad(loss, maps)
            adam.step()
            maps.data.clamp_(min=least)
        with torch.no_grad():
            return model.tail(layer, maps).softmax(1).cpu()

    def _stage(self, model: Classifier) -> str:
        """The name of the layer to cut behind."""
        count = len(model.attention_layers) if model.has_tail else 0
        if self.layer > count:
            raise ParamsError(f"layer: {self.layer} is none of {count} stages to cut behind")
        return model.attention_layers[self.layer - 1]


def tendencies(posteriors: Tensor) -> Tensor:
    """How much each class is seen in the maps of the others, on average: K x K -> K."""
    others = posteriors.clone().fill_diagonal_(0)
    return others.sum(0) / (len(others) - 1)


@torch.no_grad()
def _maps_like(model: Classifier, layer: str) -> tuple[torch.Size, float]:
    """Shape of a stage's maps of one image, and the least they can be: 0 if they are rectified."""
    greys = torch.linspace(0, 1, 8, device=next(model.parameters()).device)
    with surgery.recording(model, [layer]) as found:
        model(greys.view(-1, 1, 1, 1).expand(-1, *model.spec.data.shape))
    maps = found[layer]
    return maps.shape[1:], 0.0 if bool((maps >= 0).all()) else -torch.inf
