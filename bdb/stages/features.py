"""features: what a victim makes of its training set and of the clean set, once for all detectors.

The training set's, in float32, are exactly what a detector would compute itself: 100 MB for
CIFAR-10 under PreAct-ResNet18. The clean set's are a twentieth of that, and worth it: a detector
that compares the samples with clean ones (SCAn) would otherwise need the model for that alone.

The file holds nothing that the defender does not have: no flags, no trigger, no target; labels are
the training set's own.
"""

from __future__ import annotations

from bdb import layout
from bdb.console import say
from bdb.defenses import features
from bdb.defenses.features import VictimFeatures
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.models import base as models
from bdb.provenance import Provenance
from bdb.stages.inputs import RunInputs


def run(jobs: Jobs, run: Run) -> None:
    """Extract a victim's features."""
    inputs = RunInputs(jobs, run)
    provenance = Provenance(jobs.features(run), inputs.device, run)
    model = models.load(layout.model(run), inputs.device)
    clean_sets = jobs.settings.clean_sets
    first, *others = (features.extract(model, inputs.draw(each).images) for each in clean_sets)
    seen = VictimFeatures(features.extract(model, inputs.given_train_set.images), first)
    named = {each.name: found for each, found in zip(clean_sets[1:], others, strict=True)}
    path = layout.features(run)
    features.save(path, seen, named, origin=provenance.origin())
    provenance.write(path.parent)
    width = seen.train.penultimate.shape[1]
    say(f"{run}: {width} features of {len(seen.train)} training and {len(seen.clean)} clean images")
