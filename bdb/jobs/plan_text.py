"""The plan in words, for `bdb check`."""

from __future__ import annotations

from collections import Counter

from bdb import layout
from bdb.jobs.estimate import Estimate
from bdb.jobs.plan import Plan
from bdb.jobs.shared import Shared

_SHOWN = 20


def overview(plan: Plan) -> str:
    """How many runs and cells there are, which, and what is left out and why."""
    settings = plan.settings
    lines = [
        ", ".join(
            (
                _count(len(plan.runs), "run"),
                _count(len(plan.cells), "cell"),
                _count(len(plan.analyses), "analysis", "analyses"),
            )
        ),
        f"shared: {_shared(Shared(plan))}",
        f"recipe {plan.settings.training.recipe}, {_clean_sets(plan)}",
        *_instances(plan),
        "",
        *_runs(plan),
    ]
    defenses = dict.fromkeys(map(layout.defense_of, settings.axis("defense")))
    lines += ["", f"defenses: {', '.join(defenses) or 'none'}"]
    lines += [f"analyses: {', '.join(settings.axis('analysis')) or 'none'}"]
    if plan.left_out:
        lines += ["", f"left out: {len(plan.left_out)}"]
        reasons = Counter(part.reason for part in plan.left_out)
        for reason, count in reasons.most_common(_SHOWN):
            first = next(part.what for part in plan.left_out if part.reason == reason)
            more = f" and {count - 1} more" if count > 1 else ""
            lines.append(f"  {first}{more}: {reason}")
    return "\n".join(lines)


def _clean_sets(plan: Plan) -> str:
    """The only clean set's source, or the names of several."""
    sets = plan.settings.clean_sets
    if len(sets) == 1:
        return f"clean set {sets[0].source}"
    return f"a cell for each of the clean sets {', '.join(each.name for each in sets)}"


def _instances(plan: Plan) -> list[str]:
    """Which names on the grid are instances, and of which methods."""
    varied = {each.name for each in plan.settings.variations}
    spread = {name for name in plan.settings.axis("defense") if layout.clean_set_of(name)}
    named = {
        name: method
        for kind, instances in plan.settings.instances.items()
        for name, method in instances.items()
        if name in plan.settings.axis(kind) and name not in varied | spread
    }
    said = ", ".join(f"{name} of {method}" for name, method in named.items())
    lines = [f"instances: {said}"] if said else []
    return [*lines, f"sweeps: {_count(len(varied), 'variation')}"] if varied else lines


def outlook(estimate: Estimate) -> str:
    """How many jobs each stage has, how many are left, and what they take as far as is known."""
    total, left = estimate.planned.total(), estimate.left.total()
    stages = [
        f"{stage} {count}" + (f" ({estimate.left[stage]} left)" if estimate.left[stage] else "")
        for stage, count in estimate.planned.items()
    ]
    lines = ["", f"jobs: {total}, {left} left", f"  {', '.join(stages)}"]
    if estimate.judged_by or estimate.by_shipped:
        lines.append(
            f"left, as far as is known: about {_duration(estimate.seconds)} of one core or GPU and "
            f"{_size(estimate.bytes)}, judged by {_basis(estimate)}{_untimed(estimate)}"
        )
    if estimate.unknown:
        kinds = [f"{kind} ({count})" for kind, count in estimate.unknown.most_common(_SHOWN)]
        more = len(estimate.unknown) - len(kinds)
        kinds += [f"{more} more kinds"] if more else []
        lines.append(f"not known, since none like it is done: {', '.join(kinds)}")
    return "\n".join(lines)


def _basis(estimate: Estimate) -> str:
    """What an estimate rests on."""
    done, shipped = estimate.judged_by, estimate.by_shipped
    found = [f"{_count(done, 'job')} done here"] if done else []
    if shipped:
        found.append(f"bdb's own figures for {_count(shipped, 'job')} ({estimate.machine})")
    return " and ".join(found)


def _untimed(estimate: Estimate) -> str:
    count = estimate.untimed
    return f"; the time of {_count(count, 'job')} is never noted" if count else ""


def _runs(plan: Plan) -> list[str]:
    """Every run of a small plan; of a large one, how many there are of each value of an axis."""
    counts = Counter((run.dataset, run.model, run.attack, run.ratio) for run in plan.runs)
    if len(counts) <= _SHOWN:
        named = (("/".join(key), seeds) for key, seeds in counts.items())
        return ["runs:", *(f"  {name}  {_count(seeds, 'seed')}" for name, seeds in named)]
    axes = ("dataset", "model", "attack", "ratio", "seed")
    found = {axis: Counter(str(getattr(run, axis)) for run in plan.runs) for axis in axes}
    return ["runs:", *(f"  by {axis}: {_counted(found[axis])}" for axis in axes)]


def _counted(values: Counter[str]) -> str:
    return ", ".join(f"{value} {count}" for value, count in values.items())


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _size(size: float) -> str:
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"


def _shared(shared: Shared) -> str:
    """What is made once for several runs."""
    counted = {
        "clean model": shared.clean_models,
        "surrogate": shared.surrogates,
        "trigger": shared.triggers,
        "data set": shared.datasets,
    }
    return ", ".join(_count(len(found), what) for what, found in counted.items())


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"
