"""BTI-DBF: a trigger is what changes all but the benign features; find it so, and unlearn it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.defenses import decoupling
from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.defenses.decoupling import Bounds, Generator, Mask
from bdb.method import Paper
from bdb.models import base as models
from bdb.registry import register
from bdb.training import device as devices
from bdb.training import inference, seeds
from bdb.training.loop import Step, to_bytes, to_float
from bdb.training.recipes import Recipe


@register("bti_dbf")
class DecouplingBenignFeatures(PostTraining):
    """Learn which features are benign, a generator that changes the others, and unlearn that.

    All classes are searched at once: the suspect is what the model makes of most generated images,
    and the score their share. A generator finds such a class in a clean model as well, with a score
    that may be as high. So there is no threshold, and the verdict decides nothing: what a score is
    worth shows beside those of clean models, as `bdb preset population` makes them.

    Differs: batch statistics stay as they are while the model is looked at; changes of images are
    in standard deviations of the data; images of the suspect class have no part in the score.
    """

    paper: ClassVar[Paper] = Paper(
        title="Towards Reliable and Efficient Backdoor Trigger Inversion via Decoupling Benign "
        "Features",
        authors="Xu, Huang, Li, Qin, Ren",
        venue="ICLR",
        year=2024,
        url="https://openreview.net/forum?id=Tw9wemV6cb",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"maps"})
    judges: ClassVar[bool] = True
    evidence: ClassVar[tuple[str, ...]] = ("change", "share")

    rounds: int = Field(5, ge=1, description="inversions, each followed by its unlearning")
    warmup_epochs: int = Field(50, ge=1, description="passes until the generator changes little")
    mask_epochs: int = Field(20, ge=1, description="passes to learn the mask, in every round")
    generator_epochs: int = Field(30, ge=1, description="passes to invert, in every round")
    unlearning_epochs: int = Field(30, ge=1, description="passes to unlearn, in every round")
    batch_size: int = Field(128, ge=2, description="images per step")
    width: int = Field(32, ge=1, le=256, description="channels of the generator's first level")
    mask_lr: float = Field(0.01, gt=0, description="learning rate of the mask")
    generator_lr: float = Field(1e-3, gt=0, description="learning rate of the generator")
    image_bound: float = Field(0.3, gt=0, description="most that images change, mean square")
    feature_bound: float = Field(3.0, gt=0, description="most that benign features do, mean square")
    benign_weight: float = Field(0.01, ge=0, description="of that change, against the others'")
    noise: float = Field(0.03, ge=0, description="on images that tell the target, as above")
    generated: float = Field(0.1, gt=0, lt=1, description="share of a batch in unlearning")
    lr: float = Field(1e-4, gt=0, description="learning rate of unlearning")

    def run(self, view: DefenderView) -> Outcome:
        """Invert and unlearn in turn; the verdict is of the model as it was given."""
        with seeds.isolated(seeds.derive(view.seed, "generator")):
            generator = Generator(view.data, self.width)
        devices.place(generator, view.device)
        step = decoupling.near_identity(models.duplicate(view.model).requires_grad_(False))
        self.fit(view, generator, step, "warm up", self.warmup_epochs, self.generator_lr)
        found: dict[str, Tensor] = {}
        for number in range(self.rounds):
            target = int(found["share"].argmax()) if found else None
            self.invert(view, generator, target, number)
            found = found or self.judge(view, generator)
            if not view.wants_model:
                break
            step = decoupling.unlearning(generator, self.generated)
            self.fit(view, view.model, step, f"unlearn {number}", self.unlearning_epochs, self.lr)
        score, suspect = found["share"].max(0)
        verdict = {"score": float(score), "suspect": int(suspect)}
        model = view.model if view.wants_model else None
        return Outcome(model=model, verdict=verdict, evidence=found)

    def invert(
        self, view: DefenderView, generator: Generator, target: int | None, number: int
    ) -> None:
        """Train the generator against the model as it is now; to a target, once that is known."""
        model = models.duplicate(view.model).requires_grad_(False)
        mask = Mask.of(model)
        bounds = Bounds(self.image_bound, self.feature_bound, self.benign_weight)
        step = decoupling.decoupling(model)
        self.fit(view, mask, step, f"decouple {number}", self.mask_epochs, self.mask_lr)
        step, what = decoupling.inversion(model, mask, bounds, target), f"invert {number}"
        self.fit(view, generator, step, what, self.generator_epochs, self.generator_lr)

    def fit(
        self, view: DefenderView, net: nn.Module, step: Step, what: str, epochs: int, lr: float
    ) -> None:
        """Train a network on the clean set."""
        how: dict[str, Any] = {"optimizer": "adam", "weight_decay": 0, "schedule": "constant"}
        recipe = Recipe(epochs=epochs, batch_size=self.batch_size, lr=lr, **how)
        view.fit(net, view.clean_set, recipe, step=step, what=what)

    def judge(self, view: DefenderView, generator: Generator) -> dict[str, Tensor]:
        """The mean change of an image, and what share of other classes becomes each class."""
        clean = view.clean_set.to("cpu")
        noise = torch.randn(clean.images.shape, generator=view.generator("noise"))
        noise *= generator.unit.cpu()
        shaken = to_bytes(to_float(clean.images) + self.noise * noise)
        made = inference.in_batches(lambda images: generator(images)[0], shaken, view.device)
        known = torch.arange(view.data.num_classes)[:, None]
        became = inference.logits(view.model, to_bytes(made)).argmax(1) == known
        other = clean.labels != known
        return {
            "change": (made - to_float(shaken)).abs().mean(0, keepdim=True),
            "share": (became & other).sum(1) / other.sum(1).clamp_min(1),
        }
