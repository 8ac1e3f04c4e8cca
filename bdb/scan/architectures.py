"""Architectures by name: bdb's own, torchvision's and timm's; and the names that weights fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

from bdb import registry
from bdb.datasets.base import DataSpec
from bdb.errors import SuspectError, unknown
from bdb.models import base as models
from bdb.models import foreign_nets
from bdb.models.base import Architecture, Classifier, ModelSpec
from bdb.models.foreign_nets import TIMM, Foreign, State
from bdb.scan import layouts
from bdb.training import seeds

_LASTS = ("linear.", "fc.", "classifier.")  # what people call what we call `head.`


def build(arch: str, data: DataSpec, state: State) -> Classifier:
    """An architecture with these weights.

    Raises:
        SuspectError: nobody knows the name, or the weights do not fit.
    """
    reasons = []
    for make in _ways(arch):
        try:
            return make(data, state)
        except (SuspectError, RuntimeError, LookupError, ValueError) as error:
            reasons.append(str(error).strip().splitlines()[-1].strip()[:120])
    raise SuspectError(f"the weights do not fit --arch {arch} ({reasons[0]})")


def fresh(model: Classifier, seed: int) -> Classifier:
    """A model of the same architecture for the same data, which has learned nothing."""
    if not isinstance(model, Foreign):
        return models.build(model.spec.model_copy(update={"wrappers": ()}), seed)
    with seeds.isolated(seed):
        made = Foreign(model.spec.data, model.make, None)
    made.spec = model.spec
    return made


def inferred(state: State, data: DataSpec) -> list[str]:
    """The names of bdb's and torchvision's architectures that have just these weights.

    They are laid out without memory for weights, so that a hundred of them take seconds.
    """
    ours, theirs = layouts.of(_renamed(state)), layouts.of(state)
    own = {name: partial(_bare, name, data, state) for name in registry.names("model")}
    foreign = foreign_nets.of_torchvision()
    others = {name: partial(foreign_nets.network, name, data) for name in foreign}
    fitting = [name for name, make in own.items() if layouts.network(make) == ours]
    return fitting or [name for name, make in others.items() if layouts.network(make) == theirs]


def _ways(arch: str) -> Iterator[Callable[[DataSpec, State], Classifier]]:
    """How the architecture of a name can be built, ours first."""
    if arch.startswith(TIMM):
        name, known = (
            arch.removeprefix(TIMM).split(".")[0],
            foreign_nets.timm_library().list_models(),
        )
        if name not in known:
            raise SuspectError(unknown(f"--arch {TIMM}", name, known))
        yield lambda data, state: _foreign(arch, data, state)
        return
    known = {*registry.names("model"), *foreign_nets.of_torchvision()}
    if arch not in known:
        raise SuspectError(unknown("--arch", arch, known))
    if arch in registry.names("model"):
        yield lambda data, state: _own(arch, data, state)
    if arch in foreign_nets.of_torchvision():
        yield lambda data, state: _foreign(arch, data, state)


def _foreign(arch: str, data: DataSpec, state: State) -> Classifier:
    """One of theirs."""
    layouts.check(partial(foreign_nets.network, arch, data), state)
    return foreign_nets.build(arch, data, state)


def _own(arch: str, data: DataSpec, state: State) -> Classifier:
    """One of our architectures, as wide as the weights; the last layer may have another name."""
    layouts.check(partial(_bare, arch, data, state), state)
    model = _bare(arch, data, state)
    own = {name: tensor for name, tensor in model.state_dict().items() if name in ("mean", "std")}
    model.load_state_dict({**own, **_renamed(state)})
    return model


def _bare(arch: str, data: DataSpec, state: State) -> Classifier:
    """The same with weights that are drawn."""
    method = cast(type[Architecture], registry.get("model", arch))
    widths = [t.shape[0] for t in state.values() if t.dim() == 4 and t.shape[2:] == (3, 3)]
    fields = {"width": widths[0]} if widths and "width" in method.model_fields else {}
    return models.build(ModelSpec(architecture=arch, fields=fields, data=data), 0, pretrain=False)


def _renamed(state: State) -> State:
    """The same with our name of the last layer."""
    last = next(
        (n for n in _LASTS if f"{n}weight" in state and "head.weight" not in state), "head."
    )
    return {
        f"head.{name.removeprefix(last)}" if name.startswith(last) else name: tensor
        for name, tensor in state.items()
    }
