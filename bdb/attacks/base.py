"""What every attack is: fields, capabilities, and hooks that each have a default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.attacks.extent import Extent, misfit
from bdb.attacks.surrogates import Surrogate
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import DataSpec, ImageSet
from bdb.errors import ParamsError, UndeclaredNeedError
from bdb.method import Method, Trace
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.training import loop, seeds
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

Role = Literal["poison", "cover", "test"]
LabelMode = Literal["dirty", "clean", "label-only"]
ClassIndex = Annotated[int, Field(ge=0)]
NOT_TESTED = -1
CRAFT_BATCH = 2048
State = dict[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """Which samples an attack touches, and the labels it gives them.

    Attributes:
        ids: int64, P: indices in the prepared training set, ascending.
        labels: int64, P: as given to the victim.
        is_poison: bool, P: carries the trigger and the target.
        is_cross: bool, P: carries a trigger or noise, but its true label; not poison.
    """

    ids: Tensor
    labels: Tensor
    is_poison: Tensor
    is_cross: Tensor

    @classmethod
    def of(cls, ids: Tensor, given: np.ndarray, poison: np.ndarray, covers: np.ndarray) -> Plan:
        """A plan from positions in the training set.

        Args:
            ids: int64, N: of the whole training set, ascending.
            given: int64, N: every sample's label, as given to the victim.
            poison: int64: positions of the poisons.
            covers: int64: positions of the covers.
        """
        touched = np.sort(np.concatenate([poison, covers])).astype(np.int64)
        return cls(
            ids=ids.cpu()[torch.from_numpy(touched)],
            labels=torch.from_numpy(given[touched].astype(np.int64)),
            is_poison=torch.from_numpy(np.isin(touched, poison)),
            is_cross=torch.from_numpy(np.isin(touched, covers)),
        )


def _undeclared(*names: str) -> Any:
    raise UndeclaredNeedError(
        f"the attack read {' '.join(('what its class variables do not declare', *names))}"
    )


@dataclass(frozen=True)
class AttackContext:
    """What an attacker has to work with.

    Attributes:
        train: the victim's training set, clean, with true labels.
        load_clean_model: gives the run's clean model; only for attacks that need it.
        load_surrogate: gives the model that the attack declares under a name in `surrogates`.
        load_trigger: gives what the trigger job made; only for attacks that share theirs.
        load_foreign: gives the foreign data; only for attacks that name some.
        recipe: the victim's.
        plan: what `Attack.plan` chose; None while it is choosing.
        spec: of the victim; only for attacks with `architecture` in `needs`.
    """

    data: DataSpec
    train: ImageSet
    recipe: Recipe
    seed: int
    device: torch.device
    load_clean_model: Callable[[], Classifier]
    plan: Plan | None = None
    load_surrogate: Callable[[str], Classifier] = _undeclared
    load_trigger: Callable[[], State] = _undeclared
    load_foreign: Callable[[], ImageSet] = _undeclared
    spec: ModelSpec | None = None

    @cached_property
    def clean_model(self) -> Classifier:
        """The clean-model control of the run, in evaluation mode, on the device."""
        return self.load_clean_model().to(self.device)

    @cached_property
    def trigger(self) -> State:
        """The trigger that the runs of all poison ratios share, as `prepare_trigger` gave it."""
        return self.load_trigger()

    @cached_property
    def foreign(self) -> ImageSet:
        """The training images of the data set that `foreign_field` names, in the run's shape.

        Their labels are of that data set, and their ids count from 0.
        """
        return self.load_foreign()

    def surrogate(self, name: str) -> Classifier:
        """A model that the attack declares in `surrogates`, in evaluation mode, on the device."""
        return self.load_surrogate(name).to(self.device)

    def generator(self, *names: object) -> torch.Generator:
        """A generator of this run's attack, for the purpose that the names tell."""
        return seeds.generator(self.seed, "attack", *names)

    def build_model(self, *names: object) -> Classifier:
        """A fresh model of the victim's architecture, on the device.

        Raises:
            UndeclaredNeedError: `architecture` is not in the attack's `needs`.
        """
        if self.spec is None:
            raise UndeclaredNeedError("the attack built a model, but needs no 'architecture'")
        return models.build(self.spec, self._seed("build", *names)).to(self.device)

    def fit(
        self, model: nn.Module, data: loop.Data, recipe: Recipe, *, what: str, **options: Any
    ) -> list[loop.EpochRecord]:
        """Train a model of the attacker's in place, with the one loop, as often as it likes.

        Args:
            model: on the device.
            data: to train on; or a function of the epoch that gives it.
            recipe: schedule and optimiser.
            what: names the purpose, from which the seed follows.
            options: as `bdb.training.loop.fit` takes them; the data set's augmentation by default.
        """
        options.setdefault("augmentation", self.data.augmentation)
        return loop.fit(model, data, recipe, seed=self._seed("fit", what), what=what, **options)

    def _seed(self, *names: object) -> int:
        return seeds.derive(self.seed, "attack", *names)

    def samples(self, ids: Tensor) -> ImageSet:
        """The clean samples with these ids."""
        return self.train.of(ids)


class Controller:
    """What a training-controlled attack puts in the place of cross-entropy.

    It sees un-augmented batches (`batch.raw`), augments when it likes (`batch.augment`), and
    finds out what the plan says of a sample through `role_of`.
    """

    def __init__(self, context: AttackContext) -> None:
        if context.plan is None:
            raise ValueError("a controller needs the plan")
        size = int(context.train.ids.max()) + 1
        self.context = context
        self._poison = _mask(context.plan.ids[context.plan.is_poison], size, context.device)
        self._cross = _mask(context.plan.ids[context.plan.is_cross], size, context.device)

    def poisoned(self, batch: Batch) -> Tensor:
        """Which samples of the batch are poison: bool, B."""
        return self._poison[batch.ids]

    def crossed(self, batch: Batch) -> Tensor:
        """Which samples of the batch are cross or noise samples: bool, B."""
        return self._cross[batch.ids]

    def assign(self, ids: Tensor, poison: Tensor, cross: Tensor) -> None:
        """Say anew what these samples are: int64, bool, bool, B each."""
        self._poison[ids], self._cross[ids] = poison, cross

    def assigned(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Which of these samples are poison, and which cross samples: bool, N each."""
        return self._poison[ids], self._cross[ids]

    def uncrossed(self, count: int) -> Tensor:
        """Training images that are no cross samples, so that none of these meets its own.

        Returns:
            uint8, N x C x H x W: so many, or all there are; a draw of the run's.
        """
        train, plan = self.context.train, self.context.plan
        assert plan is not None
        ids = train.ids.cpu()
        free = torch.nonzero(~torch.isin(ids, plan.ids[plan.is_cross])).flatten()
        order = torch.randperm(len(free), generator=self.context.generator("others"))
        return train.images.cpu()[free[order[:count]]]

    def attach(self, model: nn.Module) -> None:
        """Called with the victim before its training: for masks, hooks and the like."""

    def detach(self, model: nn.Module) -> None:
        """Called after the training, however it ends: take off what `attach` put on."""

    def step(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch."""
        raise NotImplementedError

    def epoch_end(self, epoch: int, model: nn.Module) -> bool | None:
        """Called after every epoch."""
        return None

    def state(self) -> State:
        """What `stamp` needs from now on: tensors on any device."""
        raise NotImplementedError


class Attack(Method):
    """An attack; BadNets is its fields and a three-line `stamp`.

    Class variables:
        means: what the attacker changes, and the room of the file: `data_poisoning`,
            `training_controlled` or `model_editing`; set by the classes below, from which methods
            derive. `control` is no attack, and of what was `brought` nobody has to know.
        brought: made elsewhere: its fields say where it lies, of what it is and what it lacks;
            nothing is planned, stamped or trained.
        controls_training: the attacker trains the victim; `begin` gives the controller.
        label_mode: `dirty` relabels, `clean` poisons only the target class, `label-only` leaves
            every pixel alone.
        label_mode_field: the field that holds the label mode instead, where it is a choice.
        edits_model: the victim is `edit` of the run's clean model; nothing is trained.
        changes_training: `augmentation` or `recipe` departs from what the victim would have.
        training_field: the field by which the user decides whether it does, where it is a choice.
        uses_ratio: False if the poison lies in the loss: one run, not one per poison ratio.
        needs: `clean_model`, trained before the attack begins; `architecture` of the victim, from
            which the attacker builds models of its own.
        surrogates: models that the attacker needs beyond it, by the names it gives them; each is
            trained once for all attacks that describe the same.
        foreign_field: the field that names a second data set to draw on; empty, it names none.
        shares_trigger: `prepare_trigger` runs once for all poison ratios, before a plan is made.
        trigger_depends_on: what else such a trigger hangs on, of `model` and `seed`.
        poisons: False only for the clean-model control.
        gives_train_set: whether there is a poisoned training set to hand to a defender.
        hides: what defenses and analyses may require of a model, and the victim does not offer.
        crosses: test images also get a trigger that must not work (`stamp` in the role `cover`),
            and the victim's accuracy on these is its cross accuracy.
        evades: the traces that it is made not to leave (`features`, `weights`, `inputs`), and with
            them every defense that looks there: its worst case is over such attacks.
        extent: the pixels that a unit of each geometric field takes: those under `side` may
            together not exceed the image's shorter side, those under `width` its width.
    """

    kind: ClassVar[str] = "attack"
    room: ClassVar[str] = "means"
    means: ClassVar[
        Literal["data_poisoning", "training_controlled", "model_editing", "control", "brought"]
    ]
    brought: ClassVar[bool] = False
    controls_training: ClassVar[bool] = False
    label_mode: ClassVar[LabelMode] = "dirty"
    label_mode_field: ClassVar[str | None] = None
    edits_model: ClassVar[bool] = False
    changes_training: ClassVar[bool] = False
    training_field: ClassVar[str | None] = None
    uses_ratio: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    surrogates: ClassVar[Mapping[str, Surrogate]] = {}
    foreign_field: ClassVar[str | None] = None
    shares_trigger: ClassVar[bool] = False
    trigger_depends_on: ClassVar[frozenset[str]] = frozenset({"model", "seed"})
    poisons: ClassVar[bool] = True
    gives_train_set: ClassVar[bool] = True
    hides: ClassVar[frozenset[str]] = frozenset()
    crosses: ClassVar[bool] = False
    evades: ClassVar[frozenset[Trace]] = frozenset()
    extent: ClassVar[Extent] = {}

    target: int = Field(0, ge=0, description="class that the trigger asks for")
    target_rule: Literal["all-to-one", "all-to-all", "multi-target", "random"] = Field(
        "all-to-one",
        description="how a sample's target follows from its true label; random draws another class",
    )
    targets: tuple[ClassIndex, ...] = Field(
        (), description="multi-target: classes that the true labels are dealt to in turn"
    )
    source_classes: tuple[ClassIndex, ...] = Field(
        (), description="true labels that the trigger is meant for; all if empty"
    )
    cover_ratio: float = Field(
        0.0, ge=0, le=1, description="share of the training set stamped under its true label"
    )
    cover_classes: tuple[ClassIndex, ...] = Field(
        (), description="labels that covers come from; all but target and sources if empty"
    )

    @property
    def redraws(self) -> bool:
        """Whether the poisons are drawn anew in every batch."""
        return False

    @property
    def departs(self) -> bool:
        """Whether under these fields the victim's training differs from what it would have."""
        chosen = self.training_field
        return self.changes_training and (chosen is None or bool(getattr(self, chosen)))

    def augmentation(self, default: Augmentation) -> Augmentation:
        """How the victim's training is augmented; needs `changes_training`."""
        return default

    def recipe(self, default: Recipe) -> Recipe:
        """The victim's training schedule; needs `changes_training`."""
        return default

    def objective(self) -> loop.Step:
        """What the training of a victim minimises that the attacker does not control."""
        return loop.cross_entropy

    @property
    def labelling(self) -> LabelMode:
        """The label mode under these fields."""
        chosen = self.label_mode_field
        mode: LabelMode = getattr(self, chosen) if chosen else self.label_mode
        return mode

    def plan(
        self,
        labels: np.ndarray,
        ratio: float,
        rng: Callable[[str], np.random.Generator],
        context: AttackContext,
    ) -> Plan:
        """Which samples are poisoned, which are covers, and the labels of both.

        Args:
            labels: int64, N: true labels of the training set.
            ratio: of the whole training set.
            rng: gives the generator for a purpose.
            context: without a plan.

        Raises:
            ParamsError: the attack cannot poison that much of this data set.
        """
        poison = self.select(labels, ratio, rng("select"), context)
        covers = self.cover(labels, rng("cover"), poison)
        given = labels.copy()
        if self.labelling != "clean":
            targets = self.relabel(labels, rng("relabel"), context.data.num_classes)
            given[poison] = targets[poison]
        return Plan.of(context.train.ids, given, poison, covers)

    def test_targets(
        self, labels: np.ndarray, rng: np.random.Generator, num_classes: int
    ) -> np.ndarray:
        """The target that each test sample is tried under: int64, N; -1 where it is not tried.

        A sample of its own target's class proves nothing, and is left out.
        """
        targets = self.relabel(labels, rng, num_classes)
        return np.where(targets == labels, NOT_TESTED, targets)

    def is_source(self, labels: np.ndarray) -> np.ndarray:
        """Which true labels the trigger is meant for: bool, N."""
        if self.source_classes:
            return np.isin(labels, self.source_classes)
        return np.ones(len(labels), dtype=bool)

    def select(
        self,
        labels: np.ndarray,
        ratio: float,
        rng: np.random.Generator,
        context: AttackContext,
    ) -> np.ndarray:
        """Positions of the samples to poison: `ratio` of the whole training set, if that has any.

        Raises:
            ParamsError: fewer samples may be poisoned than the ratio asks for.
        """
        eligible = np.flatnonzero(self.eligible(labels))
        count = round(ratio * len(labels)) if self.poisons and self.uses_ratio else 0
        if count > len(eligible):
            raise ParamsError(
                f"{self.name}: poison ratio {ratio:g} asks for {count} samples, but only "
                f"{len(eligible)} may be poisoned; at most {len(eligible) / len(labels):.4g}"
            )
        return np.sort(rng.choice(eligible, count, replace=False))

    def eligible(self, labels: np.ndarray) -> np.ndarray:
        """Which samples may be poisoned: the target class alone if the labels stay clean."""
        return labels == self.target if self.labelling == "clean" else self.is_source(labels)

    def cover(self, labels: np.ndarray, rng: np.random.Generator, taken: np.ndarray) -> np.ndarray:
        """Positions of the samples stamped with their true label, disjoint from the poisoned."""
        free = np.setdiff1d(np.flatnonzero(self.coverable(labels)), taken)
        count = self.cover_count(len(labels), len(taken))
        return np.sort(rng.choice(free, min(count, len(free)), replace=False))

    def coverable(self, labels: np.ndarray) -> np.ndarray:
        """Which samples may be covers: bool, N; by default none that would teach the backdoor."""
        if self.cover_classes:
            return np.isin(labels, self.cover_classes)
        own = np.isin(labels, self.source_classes)
        allowed: np.ndarray = (labels != self.target) & ~own
        return allowed

    def cover_count(self, total: int, poisons: int) -> int:
        """How many covers there should be, of so many training samples and beside these poisons."""
        return round(self.cover_ratio * total)

    def relabel(self, labels: np.ndarray, rng: np.random.Generator, num_classes: int) -> np.ndarray:
        """One target per sample, from its true label.

        Raises:
            ParamsError: a target is not a class, or multi-target names fewer than two.
        """
        if self.target_rule == "all-to-all":
            return (labels + 1) % num_classes
        if self.target_rule == "random":
            return (labels + rng.integers(1, num_classes, len(labels))) % num_classes
        if self.target_rule == "multi-target" and len(self.targets) < 2:
            raise ParamsError(
                f"{self.name}: targets is {list(self.targets)}; multi-target needs at least two"
            )
        key = "targets" if self.target_rule == "multi-target" else "target"
        wanted = self.targets if key == "targets" else (self.target,)
        for target in wanted:
            if not 0 <= target < num_classes:
                raise ParamsError(
                    f"{self.name}.{key}: {target} is not a class; 0 to {num_classes - 1}"
                )
        return np.asarray(wanted)[labels % len(wanted)]

    def check_size(self, data: DataSpec) -> None:
        """See that the trigger fits into the images.

        Raises:
            ParamsError: it does not.
        """
        reason = misfit(self.extent, self.model_dump(), *data.shape[1:])
        if reason:
            raise ParamsError(f"{self.name}.{reason}")

    def prepare_trigger(self, context: AttackContext) -> State:
        """What `stamp` needs: patterns, perturbations, encoders; tensors on any device.

        Under `shares_trigger` the context has no plan, and the result none of its ratio.
        """
        return {}

    def craft(
        self, images: Tensor, labels: Tensor, context: AttackContext, state: State, ids: Tensor
    ) -> Tensor:
        """Poisons that are optimised per sample; by default they are stamped.

        Args:
            images: uint8, N x C x H x W, clean.
            labels: int64, N, as given to the victim.
            context: with the plan.
            state: of the trigger.
            ids: int64, N.

        Returns:
            uint8, N x C x H x W.
        """
        return self.stamp(images, state, role="poison", ids=ids, targets=labels)

    def craft_all(
        self, images: Tensor, labels: Tensor, context: AttackContext, state: State, ids: Tensor
    ) -> Tensor:
        """Every planned poison at once, for an attack that optimises them together.

        By default `craft` makes them in batches. Arguments and result are as there, but all of the
        plan's poisons, on the CPU.
        """
        device = context.device
        made = images.clone()
        for part in torch.arange(len(ids)).split(CRAFT_BATCH) if len(ids) else ():
            batch = (images[part].to(device), labels[part].to(device))
            made[part] = self.craft(*batch, context, state, ids[part].to(device)).cpu()
        return made

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Put the trigger on images: batched, on their device.

        Args:
            images: uint8, N x C x H x W.
            state: from `prepare_trigger`, or from the controller; on the images' device.
            role: what the images are for.
            ids: int64, N; random draws depend on them, never on the batch order.
            targets: int64, N: what each image should be taken for.

        Returns:
            uint8, N x C x H x W, clamped before the cast.
        """
        raise NotImplementedError

    def begin(self, context: AttackContext) -> Controller:
        """Start to control the training of a victim."""
        raise NotImplementedError


class DataPoisoning(Attack):
    """An attack that changes training samples or labels; somebody else trains the victim."""

    means: ClassVar = "data_poisoning"


class Covered(DataPoisoning):
    """An attack that hides among covers: the trigger under true labels, so that it is no proof."""

    covers_per_poison: float = Field(1.0, ge=0, le=100, description="covers for each poison")
    cover_ratio: float = Field(0.0, ge=0, le=0, description="not used: see covers_per_poison")

    def cover_count(self, total: int, poisons: int) -> int:
        """In proportion to the poisons."""
        return round(self.covers_per_poison * poisons)

    def cover(self, labels: np.ndarray, rng: np.random.Generator, taken: np.ndarray) -> np.ndarray:
        """Positions of the covers, disjoint from the poisoned.

        Raises:
            ParamsError: there are fewer than are asked for; without them it is another attack.
        """
        covers = super().cover(labels, rng, taken)
        wanted = self.cover_count(len(labels), len(taken))
        if len(covers) < wanted:
            raise ParamsError(
                f"{self.name}.covers_per_poison: {self.covers_per_poison:g} asks for {wanted} "
                f"covers beside {len(taken)} poisons, but only {len(covers)} samples may be covers"
            )
        return covers


class TrainingControlled(Attack):
    """An attack that trains the victim itself: `begin` gives what takes the loss's place."""

    means: ClassVar = "training_controlled"
    controls_training: ClassVar[bool] = True


class ModelEditing(Attack):
    """An attack that changes the weights of a trained model, and trains nothing.

    The victim was trained on clean data: there is no poisoned training set, and no ratio.
    """

    means: ClassVar = "model_editing"
    edits_model: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"clean_model"})
    gives_train_set: ClassVar[bool] = False
    uses_ratio: ClassVar[bool] = False

    def plan(
        self,
        labels: np.ndarray,
        ratio: float,
        rng: Callable[[str], np.random.Generator],
        context: AttackContext,
    ) -> Plan:
        """No sample."""
        none = np.empty(0, dtype=np.int64)
        return Plan.of(context.train.ids, labels, none, none)

    def edit(self, model: Classifier, context: AttackContext) -> Classifier:
        """Put the backdoor into a model, or wrap it.

        Args:
            model: a copy of the run's clean model, on the device, in evaluation mode.
            context: with an empty plan; `prepare_trigger` gives the same trigger again.
        """
        raise NotImplementedError


class LossPoisoning(TrainingControlled):
    """An attack whose poison lies in the loss: every sample is shown both clean and triggered.

    There is no poisoned training set, and no ratio. Samples of no source class carry the trigger
    under their true label.
    """

    uses_ratio: ClassVar[bool] = False
    gives_train_set: ClassVar[bool] = False

    cover_ratio: float = Field(0.0, ge=0, le=0, description="not used: see source_classes")

    def wanted(self, context: AttackContext) -> Tensor:
        """What each sample should be taken for with the trigger on: int64, by id, on the device."""
        train = context.train
        labels = train.labels.cpu().numpy()
        rng = seeds.numpy_generator(context.seed, "attack", self.name, "relabel")
        targets = self.relabel(labels, rng, context.data.num_classes)
        table = torch.zeros(int(train.ids.max()) + 1, dtype=torch.int64)
        table[train.ids.cpu()] = torch.from_numpy(np.where(self.is_source(labels), targets, labels))
        return table.to(context.device)


class CrossTrained(TrainingControlled):
    """An attack that trains the victim itself, and shows it triggers that must not work.

    Its covers are cross or noise samples of any class, in proportion to the poisons.
    """

    crosses: ClassVar[bool] = True

    redraw: bool = Field(
        True, description="draw the poisons anew in every batch, as published; else once"
    )
    cross_ratio: float = Field(1.0, ge=0, le=100, description="cross samples per poison")
    cover_ratio: float = Field(0.0, ge=0, le=0, description="not used: see cross_ratio")

    @property
    def redraws(self) -> bool:
        """As the field says."""
        return self.redraw

    def coverable(self, labels: np.ndarray) -> np.ndarray:
        """Cross samples come from any class."""
        return np.ones(len(labels), dtype=bool)

    def cover_count(self, total: int, poisons: int) -> int:
        """In proportion to the poisons."""
        return round(self.cross_ratio * poisons)


def _mask(ids: Tensor, size: int, device: torch.device) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool, device=device)
    mask[ids.to(device)] = True
    return mask
