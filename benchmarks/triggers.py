"""Speed of triggers: how many images per second each attack stamps, by batch size.

An attack that trains its trigger with the victim is stamped with a trigger that has barely been
trained: what a stamp costs does not depend on how good it is.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import common
import torch
from common import REPEATS, Record, median_of, value
from inputs import CLASSES, load, make_context

from bdb import registry
from bdb.attacks import victims
from bdb.attacks.base import Attack, AttackContext, State
from bdb.testing import equipped, quick

# As many as the quick training of a trigger needs, and as a clean-label attack can poison of them.
IMAGES, RATIO = 512, 0.05


def measure_all(
    device: torch.device, batch_sizes: Sequence[int], seconds: float
) -> Iterator[tuple[str, Record]]:
    """Every attack with its speeds, or with the reason why it has none."""
    context = make_context(load(None, IMAGES, CLASSES)[0], device)
    for name in registry.names("attack"):
        cls = cast(type[Attack], registry.get("attack", name))
        if cls.poisons and not cls.brought:
            yield name, _measure(cls, context, batch_sizes, seconds)
        else:
            reason = "stamps nothing itself" if cls.brought else "poisons nothing"
            yield name, {"reason": reason}


def table(record: Record) -> str:
    """One row per attack, one column per batch size."""
    attacks: dict[str, Record] = record["results"].get("attacks", {})
    sizes = list(dict.fromkeys(size for row in attacks.values() for size in row.get("stamps", ())))
    header = ("images/s stamped, batch of", *sizes, "")
    return common.markdown(header, (_row(name, row, sizes) for name, row in attacks.items()))


def make_state(attack: Attack, context: AttackContext) -> State:
    """What the attack needs to stamp, made as quickly as it can be."""
    context = victims.planned(attack, RATIO, equipped(attack, context))
    if attack.controls_training:
        return attack.begin(context).state()
    return attack.prepare_trigger(context)


def _measure(
    cls: type[Attack], context: AttackContext, batch_sizes: Sequence[int], seconds: float
) -> Record:
    try:
        attack = cls(**quick(cls))
        state = {k: v.to(context.device) for k, v in make_state(attack, context).items()}
        each = seconds / len(batch_sizes)
        rates = {str(size): _rates(attack, state, size, context, each) for size in batch_sizes}
    except Exception as error:  # a method may fail as it likes; the others are still measured
        return {"reason": f"{type(error).__name__}: {error}"}
    return {"stamps": {size: median_of(found, "images/s") for size, found in rates.items()}}


def _rates(
    attack: Attack, state: State, size: int, context: AttackContext, seconds: float
) -> list[float]:
    images = context.train.images.repeat(-(-size // IMAGES), 1, 1, 1)[:size].contiguous()
    ids = torch.arange(size, device=context.device)
    targets = torch.zeros_like(ids)

    def stamp(times: int) -> None:
        for _ in range(times):
            attack.stamp(images, state, role="test", ids=ids, targets=targets)

    def timed(times: int) -> float:
        return common.seconds_of(lambda: stamp(times), context.device) / times

    first = timed(1)
    if first > seconds:  # slow enough to need neither warming up nor repeating
        return [size / first]
    times = max(1, round(seconds / REPEATS / timed(1)))
    return [size / timed(times) for _ in range(REPEATS)]


def _row(name: str, row: Record, sizes: Iterable[str]) -> tuple[object, ...]:
    stamps = row.get("stamps", {})
    return (name, *(value(stamps.get(size)) for size in sizes), row.get("reason", ""))


def options() -> ArgumentParser:
    """The command line."""
    made = common.parser(__doc__)
    made.add_argument("--batch", type=int, nargs="+", default=[1, 128, 2048], help="batch sizes")
    made.add_argument("--seconds", type=float, default=3.0, help="for each attack")
    return made


def main(arguments: list[str] | None = None) -> None:
    """Measure, write, print."""
    args = options().parse_args(arguments)
    device = common.pick_device(args)
    report = common.Report("triggers", args, device)
    attacks: Record = {}
    for name, row in measure_all(device, args.batch, args.seconds):
        attacks[name] = row
        report.add(attacks=attacks, what="images of 3x32x32")
    report.finish(table)


if __name__ == "__main__":
    main()
