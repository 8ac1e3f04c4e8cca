"""How a label's logit depends on what each stage of a network puts out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bdb.datasets.base import ImageSet
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.training import inference
from bdb.training.loop import to_float


def of(model: Classifier, data: ImageSet) -> list[Tensor]:
    """After each stage, the gradient of every label's logit, averaged over the map, of length one.

    Returns:
        float32, N x C of each stage, on the CPU.
    """
    device = next(model.parameters()).device
    parts = []
    for chosen in torch.arange(len(data)).split(inference.BATCH):
        part = data[chosen.to(data.labels.device)].to(device)
        with surgery.recording(model, model.attention_layers) as seen, torch.enable_grad():
            logits = model(to_float(part.images).requires_grad_())
            own = logits.gather(1, part.labels[:, None]).sum()
            maps = [seen[name] for name in model.attention_layers]
            found = torch.autograd.grad(own, maps)
        parts.append([normalize(each.float().mean((2, 3)), dim=1).cpu() for each in found])
    return [torch.cat(stage) for stage in zip(*parts, strict=True)]
