"""A plan beside the grid that BackdoorBench published: what both have, and why not all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import starmap
from typing import NamedTuple

from bdb import layout
from bdb.jobs.plan import Plan, has_ratios
from bdb.layout import CLEAN_ATTACK, CLEAN_RATIO, Run
from bdb.params import format_ratio
from bdb.report import compare
from bdb.report.compare import UNDEFENDED

# As the paper's abstract counts; the site has a figure for fewer.
PAPER_PAIRS = 11_492


class Pair(NamedTuple):
    """An attack under a defense, or under none, in one setting."""

    dataset: str
    model: str
    attack: str
    ratio: str
    defense: str


def text(plan: Plan) -> str:
    """How many pairs are planned beside the published ones, and what makes the difference.

    Returns:
        Lines for `bdb check`; empty where the plan has no published pair.
    """
    wanted, known = planned(plan), published()
    both = wanted & known
    if not both:
        return ""
    lines = [
        "",
        f"pairs of attack and defense: {len(wanted)} planned, {len(known)} with a published figure "
        f"(its paper says {PAPER_PAIRS}), {len(both)} in both",
        f"  planned, but without a published figure: {len(wanted) - len(both)}",
    ]
    reasons = Counter(_reasons(known - wanted, plan))
    lines += [
        f"  published, but not planned: {count}: {why}" for why, count in reasons.most_common()
    ]
    return "\n".join(lines)


def published() -> set[Pair]:
    """The pairs that have a published figure."""
    table = compare.published()[compare.KEYS]
    table = table.assign(poison_ratio=table["poison_ratio"].map(format_ratio))
    return set(starmap(Pair, table.itertuples(index=False)))


def planned(plan: Plan) -> set[Pair]:
    """The pairs of a plan, seeds apart; the control without an attack is none."""
    lone = {attack: format_ratio(ratio) for attack, ratio in compare.lone_ratios().items()}
    runs = [(run, UNDEFENDED) for run in plan.runs]
    pairs = {_pair(run, name, plan, lone) for run, name in (*runs, *plan.cells)}
    return {pair for pair in pairs if pair.attack != CLEAN_ATTACK}


def _pair(run: Run, defense: str, plan: Plan, lone: Mapping[str, str]) -> Pair:
    """A cell, under the names of the methods that its names stand for."""
    instances = plan.settings.instances
    named = {
        kind: instances.get(kind, {}).get(name, name)
        for kind, name in (("attack", run.attack), ("defense", defense))
    }
    has_one = has_ratios(plan.catalogue.get("attack", run.attack))
    ratio = run.ratio if has_one else lone.get(named["attack"], run.ratio)
    return Pair(run.dataset, run.model, named["attack"], ratio, named["defense"])


def _reasons(missing: set[Pair], plan: Plan) -> list[str]:
    """Why each published pair is not planned."""
    left_out = {part.what: part.reason for part in plan.left_out}
    seeds = {run.seed for run in plan.runs}
    return [_reason(pair, plan, left_out, min(seeds)) for pair in missing]


def _reason(pair: Pair, plan: Plan, left_out: Mapping[str, str], seed: int) -> str:
    settings = plan.settings
    for kind in ("dataset", "model", "attack", "defense"):
        name = getattr(pair, kind)
        if name != UNDEFENDED and name not in plan.catalogue.names(kind):
            return f"there is no {kind} {name} here"
        if name != UNDEFENDED and name not in map(layout.defense_of, settings.axis(kind)):
            return f"{kind} {name} is not on the grid"
    for ratio in (pair.ratio, CLEAN_RATIO):  # the latter of attacks without one
        run = str(Run(pair.dataset, pair.model, pair.attack, ratio, seed))
        if reason := left_out.get(run) or left_out.get(f"{run} {pair.defense}"):
            return reason
    return f"poison ratio {pair.ratio} is not on the grid"
