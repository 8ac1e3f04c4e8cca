import torch

from bdb.attacks.data_poisoning.lf import LowFrequency
from bdb.attacks.pictures import low_pass
from bdb.datasets.base import ImageSet
from bdb.testing import Lab, lab, make_context
from bdb.training import inference


def victim() -> Lab:
    return lab("lf", deepfool_steps=10)


def test_the_pattern_is_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    assert accuracy >= 0.97
    assert success >= 0.95


def margin(pattern: torch.Tensor) -> float:
    """How far the clean model is from the target, on images that the search has not seen."""
    model, triggered = lab("none", 0.0).model, victim().poison.test
    images = victim().test[triggered.ids].images / 255 + pattern
    with torch.no_grad():
        logits = model(images.clamp(0, 1))
    wanted = logits.gather(1, triggered.targets[:, None])[:, 0]
    return float((logits.amax(1) - wanted).mean())


def test_the_pattern_draws_a_clean_model_to_the_target() -> None:
    noise = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    smooth = low_pass(noise, 6.0)
    smooth = 0.2 * (smooth - smooth.min()) / (smooth.max() - smooth.min())
    assert margin(victim().poison.state["pattern"]) < 0.8 * margin(smooth)


def test_the_search_stops_once_enough_samples_are_fooled() -> None:
    context, _ = make_context()
    attack = LowFrequency(amplitude=0.4, fooling_rate=0.1, deepfool_steps=20)
    images, targets = attack.draw(context)
    fooled = (images + attack.prepare_trigger(context)["pattern"]).clamp(0, 1)
    hits = context.clean_model(fooled).argmax(1) == targets
    assert float(hits.float().mean()) >= attack.fooling_rate


def test_the_pattern_is_smooth_and_as_strong_as_asked() -> None:
    pattern = victim().poison.state["pattern"]
    assert float(pattern.min()) == 0
    assert abs(float(pattern.max()) - 0.2) < 1e-6
    spectrum = torch.fft.fft2(pattern - pattern.mean((1, 2), keepdim=True)).abs().square()
    low = torch.fft.fftfreq(32).abs() < 4 / 32
    assert float(spectrum[:, low][:, :, low].sum() / spectrum.sum()) > 0.99


def test_the_amplitude_is_in_pixels() -> None:
    """A pattern in [0, 0.2] that was added to grey levels would not show."""
    triggered = victim().poison.test
    change = triggered.images.int() - victim().test[triggered.ids].images.int()
    assert 45 <= int(change.max()) <= 51
    assert int(change.min()) >= 0


def test_a_picture_is_as_smooth_and_strong_but_asks_no_model() -> None:
    context, _ = make_context(size=50)
    pattern = LowFrequency(pattern="picture").prepare_trigger(context)["pattern"]
    assert "clean_model" not in vars(context)
    assert pattern.shape == context.data.shape
    assert float(pattern.min()) == 0
    assert abs(float(pattern.max()) - 0.2) < 1e-6
    assert float(pattern.diff().abs().max()) < 0.02


def test_a_model_that_always_says_the_target_leaves_the_pattern_alone() -> None:
    context, _ = make_context(size=50)

    class Constant(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(torch.zeros(len(images)).long(), 10).float()

    blind = {**context.__dict__, "load_clean_model": Constant}
    pattern = LowFrequency().prepare_trigger(type(context)(**blind))["pattern"]
    assert bool((pattern == 0).all())


def test_every_image_heads_for_its_own_target() -> None:
    context, _ = make_context()
    attack = LowFrequency(target_rule="all-to-all", passes=1)
    images, targets = attack.draw(context)
    assert len(images) == attack.samples
    chosen = ImageSet.whole((images * 255).round().to(torch.uint8), targets)
    true = (targets - 1) % 10
    assert inference.accuracy(context.clean_model, chosen.images, true) > 0.97
