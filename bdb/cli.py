"""The command line: one subcommand per stage, and what helps a person to choose and check.

Nothing here imports torch; the stages do when they run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bdb import errors, layout
from bdb.errors import BdbError
from bdb.scan import arguments

app = typer.Typer(
    name="bdb",
    help="Benchmark of backdoor learning: which defense stops which attack, at what cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

exports = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(exports, name="export", help="Write what others can use without bdb.")

RunText = Annotated[str, typer.Argument(metavar="RUN", help="dataset/model/attack/ratio/s<seed>")]
Code = Annotated[str, typer.Option(help="refuse to run unless the code has this identity")]


def _stage(name: str, code: str, *arguments: str, raw: str = "") -> None:
    """Do one job of params.yaml."""
    from bdb.jobs import work

    work.do(name, arguments, code, raw)


@app.command()
def prepare(
    dataset: str,
    code: Code = "",
    raw: Annotated[str, typer.Option(help="refuse to run unless the raw files are these")] = "",
) -> None:
    """Read a raw data set, check it, write one file per split."""
    _stage("prepare", code, dataset, raw=raw)


@app.command()
def surrogate(
    run: RunText,
    name: Annotated[str, typer.Argument(help="how it differs from the clean model")],
    code: Code = "",
) -> None:
    """Train a model that attackers need, and that is no clean model of the grid's data."""
    _stage("surrogate", code, run, name)


@app.command()
def trigger(run: RunText, code: Code = "") -> None:
    """Make the trigger that all poison ratios share; the run's ratio is 0."""
    _stage("trigger", code, run)


@app.command()
def poison(run: RunText, code: Code = "") -> None:
    """Poison a training set, or plan it for an attack that controls the training."""
    _stage("poison", code, run)


@app.command()
def train(run: RunText, code: Code = "") -> None:
    """Train a victim, or a clean model."""
    _stage("train", code, run)


@app.command()
def features(run: RunText, code: Code = "") -> None:
    """Extract a victim's features of its training set, for the detectors that share them."""
    _stage("features", code, run)


@app.command()
def defend(run: RunText, defense: str, code: Code = "") -> None:
    """Let a defense act on a victim."""
    _stage("defend", code, run, defense)


@app.command()
def evaluate(run: RunText, code: Code = "") -> None:
    """Compute the metrics of a run and its cells from their tables."""
    _stage("evaluate", code, run)


@app.command()
def analyze(
    run: RunText,
    tool: str,
    of: Annotated[
        str, typer.Argument(help="the defense of a cell, or clean_model; the victim if left out")
    ] = "",
    code: Code = "",
) -> None:
    """Draw one picture of a run, a cell or a clean model, and the table behind it."""
    _stage("analyze", code, run, tool, *([of] if of else []))


@app.command()
def report(code: Code = "") -> None:
    """Write the board, the plots and the HTML report."""
    _stage("report", code)


@app.command()
def compare(
    boards: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BOARD]...", help="files, or names of kept boards"),
    ] = None,
    stops: Annotated[
        float, typer.Option(help="ASR in percent below which an attack counts as stopped")
    ] = 20.0,
    beside: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="whose published figures, if not the board's own model"),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="also write the table to this file")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="print Markdown")] = False,
    into: Annotated[
        Path | None, typer.Option(help="put it between this page's <!-- compare --> markers")
    ] = None,
    only_orders: Annotated[
        bool, typer.Option("--only-orders", help="with --into: not the cells")
    ] = False,
) -> None:
    """Set measured cells beside published ones, and the order of defenses beside theirs.

    Without a board it is results/board.csv.
    """
    from bdb import artifacts
    from bdb.report import compare as comparison
    from bdb.report import compare_text, kept, readme, tables

    if not 0 < stops <= 100:
        raise errors.ParamsError(f"--stops: {stops:g} is not allowed: above 0, at most 100")
    if beside and beside not in (known := comparison.models()):
        raise errors.ParamsError(f"--beside: {errors.unknown('published model', beside, known)}")
    table = comparison.table(kept.read(boards or [str(layout.RESULTS / "board.csv")]), beside)
    if csv:
        artifacts.write_text(csv, tables.csv(table))
    if into:
        readme.insert(into, compare_text.page(table, stops / 100, only_orders), "compare")
        return
    typer.echo(compare_text.report(table, stops / 100, markdown), nl=False)


@app.command()
def population(
    table: Annotated[
        Path, typer.Argument(help="a row per model and detector, as a run writes them")
    ] = layout.RESULTS / "population.csv",
    into: Annotated[
        Path | None,
        typer.Option(help="put the tables between this page's <!-- population --> markers"),
    ] = None,
) -> None:
    """Say what verdicts on models are worth, beside those on clean models."""
    from bdb.report import population as populations
    from bdb.report import readme

    text = populations.markdown(populations.read(table))
    if into:
        readme.insert(into, text, "population")
        return
    typer.echo(text, nl=False)


@app.command()
def keep(
    name: Annotated[str, typer.Argument(help="of the file in results/boards")],
    add: Annotated[
        bool, typer.Option("--add", help="to the kept board; rows of the same cell are replaced")
    ] = False,
) -> None:
    """Keep the board, costs included, where no run and no clean-up touches it."""
    from bdb.report import kept

    typer.echo(kept.keep(name, add))


@exports.command("set")
def export_set(run: RunText, folder: Annotated[Path, typer.Argument(help="to be made")]) -> None:
    """A poisoned set as PNG files, with CSVs of index, given and true label, and flags."""
    from bdb.export import pictures

    typer.echo(pictures.export(run, folder))


@exports.command("model")
def export_model(
    run: RunText,
    path: Annotated[Path, typer.Argument(help="ends with .safetensors, .pt, .pt2 or .onnx")],
    defense: Annotated[str, typer.Option(help="whose model it is; the victim's without")] = "",
) -> None:
    """A victim's or defended model: plain weights, or a program that needs no class of bdb's."""
    from bdb.export import weights

    typer.echo(weights.export(run, path, defense))


@exports.command("run")
def export_run(run: RunText, path: Annotated[Path, typer.Argument(help="of the zip")]) -> None:
    """All files of a run as a zip, with checksums, provenance and params.yaml."""
    from bdb.export import runs

    typer.echo(runs.export(run, path))


@app.command()
def sync() -> None:
    """Check every output by content: keep it, restore it from the cache, or drop it."""
    from bdb.jobs import jobs as all_jobs
    from bdb.jobs import runcache
    from bdb.jobs import sync as syncing

    typer.echo(syncing.everything(all_jobs.from_params(), runcache.require()))


@app.command()
def bless(
    reason: Annotated[str, typer.Option(help="why the change of code does not matter")],
) -> None:
    """Declare the outputs that lie here valid under code that has changed since."""
    from bdb.jobs import bless as blessing
    from bdb.jobs import jobs as all_jobs
    from bdb.jobs import runcache

    blessed = blessing.everything(all_jobs.from_params(), runcache.require(), reason)
    typer.echo(f"{len(blessed)} jobs blessed")


@app.command()
def forget(
    run: RunText,
    defense: Annotated[str, typer.Argument(metavar="[DEFENSE]", help="its cell alone")] = "",
) -> None:
    """Drop a run's outputs, also from the cache: the next run computes them anew."""
    from bdb.jobs import forget as forgetting
    from bdb.jobs import jobs as all_jobs
    from bdb.jobs import runcache

    forgotten = forgetting.forget(all_jobs.from_params(), runcache.find(), run, defense)
    typer.echo(f"{len(forgotten)} jobs forgotten")


@app.command()
def record() -> None:
    """Let DVC take note of all outputs; the last job of a full Snakemake run."""
    from bdb.jobs import engines

    engines.record()


@app.command("list")
def list_methods(
    kind: Annotated[
        str, typer.Argument(help="attack, defense, analysis, dataset, model; all if left out")
    ] = "",
    pattern: Annotated[str, typer.Argument(metavar="GLOB", help="names to show")] = "*",
    means: Annotated[str, typer.Option(help="attacks by what the attacker changes")] = "",
    stage: Annotated[str, typer.Option(help="defenses by when they act: post_training")] = "",
    subject: Annotated[str, typer.Option(help="analyses by what they look at: features")] = "",
) -> None:
    """List the methods that exist: name, needs, paper, summary, by attacker, stage or subject."""
    from bdb.jobs import catalogue
    from bdb.jobs.catalogue_text import listing

    methods = catalogue.load()
    typer.echo(listing(methods, kind, pattern, means=means, stage=stage, subject=subject))


@app.command()
def show(method: Annotated[str, typer.Argument(help="name, or kind/name")]) -> None:
    """Show a method: summary, paper, capabilities, fields with defaults and ranges."""
    from bdb.jobs import catalogue
    from bdb.jobs.catalogue_text import description

    typer.echo(description(catalogue.load(), method))


@app.command()
def check(
    params: Annotated[Path, typer.Option(help="the file to check")] = layout.PARAMS,
) -> None:
    """Validate params.yaml and print the plan: what is run, left out, and left to do."""
    from bdb.jobs import engines, estimate, plan_text
    from bdb.jobs import jobs as all_jobs
    from bdb.report import coverage

    jobs = all_jobs.from_params(params)
    engines.tell_lost(jobs)
    typer.echo(plan_text.overview(jobs.plan))
    if beside := coverage.text(jobs.plan):
        typer.echo(beside)
    typer.echo(plan_text.outlook(estimate.make(jobs)))


@app.command()
def preset(
    name: Annotated[str, typer.Argument(help="which; none lists them")] = "",
    params: Annotated[Path, typer.Option(help="the file to write")] = layout.PARAMS,
) -> None:
    """Put a preset's parameters in place of params.yaml."""
    from bdb import presets

    if not name:
        typer.echo(presets.listing())
        return
    presets.put(name, params)
    typer.echo(f"{params}: now preset {name}")


@app.command()
def scan(
    model: arguments.Model,
    arch: arguments.Arch = "",
    size: arguments.Size = 0,
    normalize: arguments.Normalize = "",
    budget: arguments.Budget = "",
    population: arguments.Population = None,
    calibrate: arguments.Calibrate = None,
    clean_models: arguments.CleanModels = 19,
    images: arguments.Images = None,
    clean_model: arguments.CleanModel = None,
    inputs: arguments.Inputs = None,
    train: arguments.Train = None,
    scores: arguments.Scores = None,
    pictures: arguments.Pictures = None,
    html: arguments.Html = None,
    sarif: arguments.Sarif = None,
    seed: arguments.Seed = 0,
    as_json: arguments.AsJson = False,
) -> None:
    """Say whether the weights of a model hold a backdoor; exit code 1 if they look so.

    Nothing in the file is executed, nothing is downloaded, and no project folder is needed.
    """
    with errors.accidents(code=2):
        from bdb.scan import outputs, scanning
        from bdb.scan.suspects import Told

        told = Told(arch, size, normalize)
        brought = scanning.Brought(
            population, images, clean_model, inputs, train, calibrate, clean_models
        )
        found = scanning.scan(model, told, brought, budget, seed)
        outputs.write(found, outputs.Paths(html, sarif, pictures, scores))
        typer.echo(outputs.text(found, as_json))
    raise typer.Exit(found.is_suspicious)


@app.command("import")
def import_victim(
    source: Annotated[Path, typer.Argument(help="a file with a model, or a folder that has one")],
    name: Annotated[str, typer.Argument(help="what the victim is called on the grid")],
    dataset: Annotated[str, typer.Option(help="it was trained on, as params.yaml names it")] = "",
    poisoned: Annotated[
        Path | None,
        typer.Option(help="its poisoned training images: a CSV, or <true class>/<index>.png"),
    ] = None,
    triggered: Annotated[
        Path | None, typer.Option(help="test images with the trigger, likewise")
    ] = None,
    target: Annotated[
        int | None, typer.Option(min=0, help="the class that the images of a folder are given")
    ] = None,
    arch: Annotated[str, typer.Option(help="one of `bdb list model`")] = "",
    normalize: Annotated[
        str, typer.Option(help="how inputs are normalised: imagenet, none, or as a data set's")
    ] = "",
    seed: Annotated[
        int | None, typer.Option(min=0, help="of the run it is from, if its file does not say")
    ] = None,
    edit: Annotated[bool, typer.Option("--edit", help="also put it into params.yaml")] = False,
) -> None:
    """Convert a victim that was made elsewhere, and say what puts it on the grid.

    Nothing in the files is executed.
    """
    from bdb.imports import convert
    from bdb.imports import edit as editing
    from bdb.scan.suspects import Told

    beside = convert.Beside(dataset, poisoned, triggered, target, seed)
    if edit:
        editing.put({}, layout.PARAMS)  # that will do, before anything is written
    brought = convert.bring(source, name, Told(arch, 0, normalize), beside)
    typer.echo(str(brought))
    if edit:
        changed = editing.put(brought.lines, layout.PARAMS)
        typer.echo(f"\n{layout.PARAMS}: {'; '.join(changed) or 'has it all'}")


@app.command()
def docs(
    path: Annotated[Path, typer.Argument(help="the file to write")] = Path("docs/methods.md"),
    readme: Annotated[
        Path | None, typer.Option(help="also put results/summary.md into this file's demo table")
    ] = None,
) -> None:
    """Write the method catalogue as Markdown."""
    from bdb import artifacts
    from bdb.jobs import catalogue
    from bdb.jobs.catalogue_text import markdown

    artifacts.write_text(path, markdown(catalogue.load()))
    if readme:
        from bdb.report import readme as readmes

        summary = (layout.RESULTS / "summary.md").read_text(encoding="utf-8")
        readmes.insert(readme, summary, "demo")


@app.command()
def schema(
    path: Annotated[Path | None, typer.Argument(help="the file to write; printed without")] = None,
) -> None:
    """Write the JSON schema of params.yaml, for editors and for Snakemake."""
    from bdb import artifacts
    from bdb.jobs import catalogue
    from bdb.jobs import schema as schemas

    text = schemas.text(catalogue.load())
    if path:
        artifacts.write_text(path, text)
    else:
        typer.echo(text, nl=False)


def _version(wanted: bool) -> None:
    if wanted:
        from bdb.revision import described

        typer.echo(described())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Options of bdb itself."""


def main() -> None:
    """Run the command line; a user's mistake gives one line and exit code 2."""
    from bdb.jobs import copies

    try:
        copies.refuse_other()
        app()
    except (BdbError, OSError) as error:
        print(f"bdb: {errors.line(error)}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
