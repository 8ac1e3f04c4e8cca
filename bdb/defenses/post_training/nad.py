"""NAD: a fine-tuned teacher shows the suspect model where to look."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.errors import ParamsError
from bdb.method import Paper
from bdb.models import base as models
from bdb.models import surgery
from bdb.registry import register
from bdb.training import loop
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


@register("nad")
class NeuralAttentionDistillation(PostTraining):
    """Fine-tune a teacher on clean images, then the suspect model towards its attention.

    Differs: BackdoorBench's third map is a single pixel, constant after scaling, so that it attends
    to the last two stages alone: `betas: [500.0, 1000.0]`.
    """

    paper: ClassVar[Paper] = Paper(
        title="Neural Attention Distillation: Erasing Backdoor Triggers from Deep Neural Networks",
        authors="Li, Lyu, Koren, Lyu, Li, Ma",
        venue="ICLR",
        year=2021,
        url="https://arxiv.org/abs/2101.05930",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"maps"})

    teacher_epochs: int = Field(10, ge=1, description="passes over the clean set, of the teacher")
    epochs: int = Field(10, ge=1, description="passes over the clean set, of the student")
    batch_size: int = Field(256, ge=2, description="samples per step")
    lr: float = Field(0.01, gt=0, description="learning rate of both, constant")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="of both")
    betas: tuple[NonNegativeFloat, ...] = Field(
        (500.0, 1000.0, 1000.0),
        min_length=1,
        description="weights of the attention losses of the last stages, first to last",
    )
    power: float = Field(2.0, gt=0, description="exponent of the activations in the attention map")

    def run(self, view: DefenderView) -> Outcome:
        """Distil; the student's last epoch counts.

        Raises:
            ParamsError: the architecture names no stages to attend to.
        """
        student = view.model
        layers = student.attention_layers[-len(self.betas) :]
        if not layers:
            raise ParamsError(f"nad: {student.spec.architecture} has no attention_layers")
        teacher = models.duplicate(student)
        view.fit(teacher, view.clean_set, self.recipe(self.teacher_epochs), what="teacher")
        teacher.requires_grad_(False)
        weights = dict(zip(layers, self.betas[-len(layers) :], strict=True))
        with (
            surgery.recording(teacher, layers) as wanted,
            surgery.recording(student, layers) as own,
        ):

            def step(model: nn.Module, batch: Batch) -> Tensor:
                teacher(batch.images)
                loss = loop.cross_entropy(model, batch)
                for layer, beta in weights.items():
                    loss = loss + beta * mse_loss(
                        self.attend(own[layer]), self.attend(wanted[layer])
                    )
                return loss

            view.fit(student, view.clean_set, self.recipe(self.epochs), step=step)
        return Outcome(model=student)

    def recipe(self, epochs: int) -> Recipe:
        """How teacher and student are trained."""
        return Recipe(
            epochs=epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule="constant",
        )

    def attend(self, maps: Tensor) -> Tensor:
        """Where a layer looks: N x C x H x W -> N x HW, of unit length."""
        return normalize(maps.float().abs().pow(self.power).sum(1).flatten(1), dim=1)
