import pytest
import torch
from torch import Tensor, nn

from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import DataSpec
from bdb.defenses import decoupling
from bdb.defenses.decoupling import Bounds, Generator, Mask
from bdb.models.base import Classifier, ModelSpec
from bdb.training import seeds
from bdb.training.loop import Batch

DATA = DataSpec(dataset="x", classes=tuple("012"), shape=(1, 2, 2), mean=(0.5,), std=(0.25,))


class Pixels(Classifier):
    """Its maps are the four pixels: one for each class, and one that a trigger lights."""

    attention_layers = ("stage",)

    def __init__(self) -> None:
        super().__init__(DATA)
        self.spec = ModelSpec(architecture="pixels", data=DATA)
        self.stage = nn.Identity()
        self.head = nn.Linear(4, 3)
        self.head.weight.data = 8 * torch.tensor([[1.0, 0, 0, 2], [0, 1.0, 0, 0], [0, 0, 1.0, 0]])
        self.head.bias.data.zero_()
        self.requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        maps: Tensor = self.stage(images)
        return maps.flatten(1)


def batch() -> Batch:
    """Each image has the pixel of its class."""
    labels = torch.arange(12) % 3
    images = torch.zeros(12, 4, dtype=torch.uint8).scatter(1, labels[:, None], 255)
    return Batch(
        pixels=images.view(12, 1, 2, 2),
        labels=labels,
        ids=torch.arange(12),
        epoch=0,
        augmentation=Augmentation(),
        generator=torch.Generator().manual_seed(0),
    )


class Changing(nn.Module):
    """A generator that adds to a pixel."""

    def __init__(self, pixel: int, by: float) -> None:
        super().__init__()
        self.by = torch.zeros(4)
        self.by[pixel] = by

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        made = images + self.by.view(1, 1, 2, 2)
        return made, (made - images).square().mean()


def learned_mask() -> Mask:
    mask = Mask.of(Pixels())
    adam = torch.optim.Adam(mask.parameters(), 0.1)
    step = decoupling.decoupling(Pixels())
    for _ in range(100):
        adam.zero_grad()
        step(mask, batch()).backward()
        adam.step()
    return mask.requires_grad_(False)


def test_the_parts_add_up() -> None:
    mask, maps = Mask.of(Pixels()), torch.rand(5, 1, 2, 2, generator=seeds.generator(0))
    assert torch.equal(mask.values(), torch.full((1, 2, 2), 0.5))
    mask.raw.data = torch.tensor([[[-9.0, 0], [1, 9]]])
    benign, rest = mask(maps)
    torch.testing.assert_close(benign + rest, maps)
    torch.testing.assert_close(rest[:, :, 0, 0], maps[:, :, 0, 0])
    torch.testing.assert_close(benign[:, :, 1, 1], maps[:, :, 1, 1])


def test_a_model_is_asked_about_both_parts() -> None:
    model, mask, images = Pixels(), torch.tensor([[[1.0, 0], [0.5, 1]]]), batch().images
    benign, rest = decoupling.parted(model, mask, images)
    torch.testing.assert_close(benign, model(mask * images))
    torch.testing.assert_close(rest, model((1 - mask) * images))
    torch.testing.assert_close(model(images), benign + rest)  # no bias, and no mask any more


def test_features_that_tell_the_class_are_benign() -> None:
    values = learned_mask().values().flatten()
    assert (values[:3] > 0.95).all()
    assert values[3] == 0.5  # clean images say nothing of it


def test_inversion_prefers_what_is_not_benign() -> None:
    model, mask = Pixels(), learned_mask()
    bounds = Bounds(image=0.3, benign=3.0, weight=0.01)
    step = decoupling.inversion(model, mask, bounds, None)
    losses = [float(step(Changing(pixel, 0.5), batch())) for pixel in (3, 1)]
    assert losses[0] < -0.01 < losses[1]
    assert step(Changing(3, 1.0), batch()) < losses[0]
    far = step(Changing(3, 2.0), batch())
    torch.testing.assert_close(far, torch.tensor(1.0))  # beyond the bound: its own change
    narrow = decoupling.inversion(model, mask, Bounds(image=9, benign=0.01, weight=0.01), None)
    torch.testing.assert_close(narrow(Changing(1, 0.5), batch()), torch.tensor(0.0625))


@pytest.mark.parametrize("target", [0, 1])
def test_a_known_target_draws_the_generator(target: int) -> None:
    bounds = Bounds(image=0.3, benign=3.0, weight=0.01)
    mask = learned_mask()
    free, drawn = (
        decoupling.inversion(Pixels(), mask, bounds, wanted)(Changing(3, 1.0), batch())
        for wanted in (None, target)
    )
    assert (drawn - free < 0.1) == (target == 0)


def test_a_near_identity_keeps_what_the_model_sees() -> None:
    step = decoupling.near_identity(Pixels())
    none, small, large = (float(step(Changing(3, by), batch())) for by in (0.0, 0.1, 1.0))
    assert none < small < 1 < 20 < large


def test_unlearning_shows_a_share_generated() -> None:
    shown: list[Tensor] = []

    class Watched(Pixels):
        """Keeps what it is shown."""

        def features(self, images: Tensor) -> Tensor:
            shown.append(images)
            return super().features(images)

    generator = Changing(3, 0.5)
    loss = decoupling.unlearning(generator, 0.25)(Watched(), batch())  # type: ignore[arg-type]
    images, clean = shown[0], batch().images
    assert len(images) == 15
    assert torch.equal(images[:3], generator(clean[:3])[0])
    assert torch.equal(images[3:], torch.cat([clean[3:], clean[:3]]))
    assert loss > decoupling.unlearning(Changing(3, 0.0), 0.25)(Watched(), batch())  # type: ignore[arg-type]


def test_a_generator_keeps_to_pixels_and_learns_beyond() -> None:
    torch.manual_seed(0)
    generator = Generator(DATA, 4)
    bias = generator.net.head.bias
    assert bias is not None
    bias.data.fill_(50)
    images = torch.rand(6, 1, 2, 2)
    made, change = generator(images)
    assert torch.equal(made, torch.ones_like(made))
    torch.testing.assert_close(change, ((1 - images) / 0.25).square().mean())
    made.sum().backward()
    assert bias.grad is not None
    assert bias.grad.abs() > 0.1
