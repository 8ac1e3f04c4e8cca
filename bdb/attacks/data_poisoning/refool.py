"""Refool: the reflection of another picture, as in a pane before the scene; labels stay true."""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bdb.attacks import pictures, trials
from bdb.attacks.base import AttackContext, DataPoisoning, LabelMode, Role, State
from bdb.method import Paper
from bdb.registry import register
from bdb.training import seeds
from bdb.training.batches import to_bytes, to_float

Kind = Literal["in_focus", "out_of_focus", "ghost"]
Share = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[float, Field(ge=0, le=512)]


@register("refool")
class Refool(DataPoisoning):
    """The light of one of many reflections is added to each image, drawn by the image's id.

    Each reflection is sharp, blurred, or doubled as by the two faces of a pane. What is reflected
    should be unlike the images: letters, reflected in digits, are a weak backdoor.

    Differs: the published reflections are photographs; ours are drawn by rule or images of another
    data set. The paper always searches those that work best; ours does if `rounds` are asked for,
    each of which trains a victim, and the reference never. The paper gives an intensity to sharp
    reflections alone; here all have one.
    """

    paper: ClassVar[Paper] = Paper(
        title="Reflection Backdoor: A Natural Backdoor Attack on Deep Neural Networks",
        authors="Liu, Ma, Bailey, Lu",
        venue="ECCV",
        year=2020,
        url="https://arxiv.org/abs/2007.02343",
    )
    label_mode: ClassVar[LabelMode] = "clean"
    label_mode_field: ClassVar[str] = "labels"
    foreign_field: ClassVar[str] = "foreign"
    needs: ClassVar[frozenset[str]] = frozenset({"architecture"})

    labels: Literal["clean", "dirty"] = Field("clean", description="whether labels stay true")
    foreign: str = Field(
        "",
        description="data set whose images are reflected; drawn by rule if empty",
        json_schema_extra={"names": "dataset"},
    )
    reflections: int = Field(200, ge=1, le=100_000, description="how many there are")
    rounds: int = Field(0, ge=0, description="of the search for the best reflections; 0 for none")
    candidates: int = Field(1000, ge=1, description="reflections that it has to choose from")
    kinds: tuple[Kind, ...] = Field(
        ("in_focus", "out_of_focus", "ghost"), min_length=1, description="each is one of these"
    )
    intensity: tuple[Share, Share] = Field(
        (0.05, 0.4), description="range of the share of its light that a reflection adds"
    )
    blur: tuple[Pixels, Pixels] = Field(
        (1, 5), description="range of the sigma of what is out of focus, in pixels"
    )
    shift: tuple[Pixels, Pixels] = Field(
        (3, 8), description="range of a ghost's way across and down, in pixels"
    )
    second: tuple[Share, Share] = Field(
        (0.15, 0.35), description="range of the share of a ghost's light in its second image"
    )

    def prepare_trigger(self, context: AttackContext) -> State:
        """What the reflections add: `lights`, uint8, R x C x H x W; and the draws' `seed`."""
        generator = context.generator(self.name, "reflections")
        total = max(self.candidates, self.reflections) if self.rounds else self.reflections
        scenes = self._scenes(context, total, generator)
        lights = to_bytes(torch.stack([self._light(scene, generator) for scene in scenes]))
        seed = torch.randint(2**62, (1,), generator=generator)

        def success(tried: Tensor, number: int) -> Tensor:
            state = {"lights": lights[tried], "seed": seed}
            stamps = (partial(pictures.lighten, light=light) for light in lights[tried])
            return trials.success(self, context, state, stamps, number)

        chosen = trials.best(len(lights), self.reflections, self.rounds, success)
        return {"lights": lights[chosen], "seed": seed}

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Add the light of each image's reflection."""
        draws = seeds.uniform_by_id(ids, 1, int(state["seed"]))[:, 0]
        return pictures.lighten(images, state["lights"][(len(state["lights"]) * draws).long()])

    def _scenes(self, context: AttackContext, total: int, generator: torch.Generator) -> Tensor:
        """What is reflected: float32 in [0, 1], R x C x H x W, on the CPU."""
        if not self.foreign:
            return pictures.photographs(total, context.data.shape, generator)
        found = context.foreign.images.cpu()
        return to_float(found[torch.randperm(len(found), generator=generator)[:total]])

    def _light(self, scene: Tensor, generator: torch.Generator) -> Tensor:
        """What one reflection adds: floats in [0, 1], C x H x W."""

        def draw(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        def ghost() -> Tensor:
            way = (round(draw(*self.shift)), round(draw(*self.shift)))
            return torch.lerp(scene, scene.roll(way, (1, 2)), draw(*self.second))

        form = {
            "in_focus": lambda: scene,
            "out_of_focus": lambda: pictures.low_pass(scene, draw(*self.blur)),
            "ghost": ghost,
        }
        kind = self.kinds[int(torch.randint(len(self.kinds), (), generator=generator))]
        return draw(*self.intensity) * form[kind]()
