"""The plan in words, for `bdb check`."""

from __future__ import annotations

from collections import Counter

from bdb.jobs.plan import Plan

_SHOWN = 20


def overview(plan: Plan) -> str:
    """How many runs and cells there are, which, and what is left out and why."""
    grid = plan.settings.grid
    lines = [
        f"{len(plan.runs)} runs, {len(plan.cells)} cells, {len(plan.analyses)} analyses",
        f"recipe {plan.settings.training.recipe}, clean set {plan.settings.clean_set.source}",
        "",
        "runs:",
    ]
    counts = Counter((run.dataset, run.model, run.attack, run.ratio) for run in plan.runs)
    for (dataset, model, attack, ratio), seeds in counts.items():
        lines.append(f"  {dataset}/{model}/{attack}/{ratio}  {_count(seeds, 'seed')}")
    lines += ["", f"defenses: {', '.join(grid.defense) or 'none'}"]
    lines += [f"analyses: {', '.join(grid.analysis) or 'none'}"]
    if plan.left_out:
        lines += ["", f"left out: {len(plan.left_out)}"]
        reasons = Counter(part.reason for part in plan.left_out)
        for reason, count in reasons.most_common(_SHOWN):
            first = next(part.what for part in plan.left_out if part.reason == reason)
            more = f" and {count - 1} more" if count > 1 else ""
            lines.append(f"  {first}{more}: {reason}")
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
