from dataclasses import replace

import torch
from torch import Tensor, nn

from bdb.attacks.perturbations import universal
from bdb.testing import lab, make_context
from bdb.training.loop import Batch


def found(low: float, high: float, **options: object) -> Tensor:
    """For the target 3, on a hundred images of the clean model's training set."""
    context, _ = make_context(size=100)
    images = replace(context.train, labels=torch.full((100,), 3))
    box = tuple(torch.full(context.data.shape, bound) for bound in (low, high))
    start = torch.zeros(context.data.shape)
    settings = {"epochs": 3, "lr": 0.05, "what": "test", **options}
    return universal(context, context.clean_model, images, start, box, **settings)  # type: ignore[arg-type]


def test_it_stays_in_the_box_and_uses_all_of_it() -> None:
    perturbation = found(-0.02, 0.1)
    assert float(perturbation.min()) == torch.tensor(-0.02)
    assert float(perturbation.max()) == torch.tensor(0.1)


def test_the_same_seed_gives_the_same_and_the_model_stays() -> None:
    model = lab("none", 0.0).model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert torch.equal(found(-0.1, 0.1), found(-0.1, 0.1))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(weights.requires_grad for weights in model.parameters())


def test_a_step_of_ones_own_may_say_what_is_sought() -> None:
    def darken(model: nn.Module, batch: Batch) -> Tensor:
        shown: Tensor = model.perturb(batch.images).sum()  # type: ignore[operator]
        return shown

    perturbation = found(-0.1, 0.1, step=darken)
    context, _ = make_context(size=100)
    lit = context.train.images.amax(0) > 0
    assert bool((perturbation[lit] < 0).all())
