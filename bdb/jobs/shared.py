"""What several runs share, each made once: triggers, surrogates, clean models, other data sets."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from bdb import layout
from bdb.attacks.surrogates import Surrogate, SurrogateJob
from bdb.errors import ParamsError, unknown
from bdb.jobs.catalogue import Entry
from bdb.jobs.plan import Plan
from bdb.layout import ANY_MODEL, CLEAN_MODEL, CLEAN_RATIO, Run


class Shared:
    """What the runs of a plan share."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @cached_property
    def triggers(self) -> tuple[Run, ...]:
        """The runs of ratio 0 for which a trigger is made."""
        found = (self.trigger(run) for run in self.plan.runs)
        return tuple(dict.fromkeys(run for run in found if run))

    @cached_property
    def surrogates(self) -> dict[tuple[Run, str], SurrogateJob]:
        """The surrogates that are not clean models, by control and name."""
        jobs = (job for run in self.plan.runs for job in self.surrogates_of(run).values())
        return {(job.run, job.name): job for job in jobs if job.name}

    @cached_property
    def clean_models(self) -> tuple[Run, ...]:
        """The controls of the grid, and the clean models that attackers and analyses need."""
        runs = self.plan.runs
        wanted = [run.control for run in runs if run.is_shared or self.needs_control(run)]
        wanted += [run.control for run, tool, of in self.plan.analyses if self._compares(tool, of)]
        jobs = (job for run in runs for job in self.surrogates_of(run).values())
        return tuple(dict.fromkeys([*wanted, *(job.run for job in jobs if not job.name)]))

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """Every data set that something is drawn from."""
        foreign = [self.foreign(run) for run in self.plan.runs]
        foreign += [each.dataset for each in self.plan.settings.clean_sets]
        return tuple(
            dict.fromkeys([run.dataset for run in self.plan.runs] + list(filter(None, foreign)))
        )

    def surrogate(self, run: Run, name: str) -> SurrogateJob:
        """A surrogate of the plan, by its control and its name.

        Raises:
            ParamsError: the plan has none like that.
        """
        try:
            return self.surrogates[run, name]
        except KeyError:
            known = [f"{run} {name}" for run, name in self.surrogates]
            raise ParamsError(unknown("surrogate", f"{run} {name}", known)) from None

    def trigger(self, run: Run) -> Run | None:
        """The run of ratio 0 that stands for all which share this run's trigger, if any do.

        Its model is `any`, or its seed 0, where the attack says that they do not matter.
        """
        attack = self._attack(run)
        if not attack.can("shares_trigger"):
            return None
        model = run.model if "model" in attack.can("trigger_depends_on") else ANY_MODEL
        seed = run.seed if "seed" in attack.can("trigger_depends_on") else 0
        return Run(run.dataset, model, run.attack, CLEAN_RATIO, seed)

    def surrogates_of(self, run: Run) -> dict[str, SurrogateJob]:
        """The surrogates of a run, by the names that its attack gives them."""
        run = self.trigger(run) or run
        declared: dict[str, dict[str, object]] = self._attack(run).can("surrogates")
        return {
            name: Surrogate.model_validate(fields).of(run, self.foreign(run))
            for name, fields in declared.items()
        }

    def foreign(self, run: Run) -> str | None:
        """The data set, beside its own, that a run's attack draws on.

        Raises:
            ParamsError: there is none of that name.
        """
        attack = self._attack(run)
        field = attack.can("foreign_field")
        if field is None:
            return None
        name = self.plan.settings.value(attack, field)
        known = self.plan.catalogue.entries["dataset"]
        if name and name not in known:
            raise ParamsError(f"attacks.{run.attack}.{field}: {unknown('data set', name, known)}")
        return name or None

    def needs_control(self, run: Run) -> bool:
        """Whether the run's attack needs a clean model before it can poison."""
        return "clean_model" in self._attack(run).can("needs")

    def behind(self, run: Run) -> set[Run]:
        """The runs by which a run shares with others what its attacker needs."""
        controls = {job.run for job in self.surrogates_of(run).values()}
        trigger, control = self.trigger(run), run.control if self.needs_control(run) else None
        return controls | {each for each in (trigger, control) if each}

    def attackers(self, run: Run) -> list[Path]:
        """What the attacker of a run reads, beside the run's own data and its shared trigger."""
        paths = [layout.model(run.control)] if self.needs_control(run) else []
        paths += [job.path for job in self.surrogates_of(run).values()]
        foreign = self.foreign(run)
        paths += [layout.prepared(foreign, "train")] if foreign else []
        return _unique(paths)

    def _compares(self, tool: str, of: str | None) -> bool:
        """Whether an analysis looks at the run's clean model, alone or beside the victim."""
        needs = self.plan.catalogue.get("analysis", tool).can("needs")
        return of == CLEAN_MODEL or "clean_model" in needs

    def _attack(self, run: Run) -> Entry:
        return self.plan.catalogue.get("attack", run.attack)


def _unique(paths: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(paths))
