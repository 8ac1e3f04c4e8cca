"""Victims that were made elsewhere: read, put on the grid, and run as any other."""

import contextlib
import importlib
import os
import pickle
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from bdb import artifacts, cli, layout, presets
from bdb import plain as plain_values
from bdb.attacks.base import Attack
from bdb.attacks.imported import Imported
from bdb.datasets.base import DataSpec
from bdb.errors import BdbError, DataError, ParamsError, SuspectError
from bdb.export import pictures, weights
from bdb.export.pictures import picture
from bdb.imports import convert
from bdb.imports.convert import Beside, Brought
from bdb.jobs import catalogue, plan_text
from bdb.jobs import jobs as all_jobs
from bdb.layout import Run
from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.report import board as boards
from bdb.scan import files, suspects, torch_files
from bdb.scan.suspects import Told
from bdb.stages.inputs import read_split
from bdb.torchvision_ops import load as torchvision

RUN = "digits/convnet/badnets/0.1/s0"
TABLES = (Path("set/train.csv"), Path("set/triggered/triggered.csv"))
TOLD = Told(normalize="none")
MARK = "/tmp/bdb-import-was-fooled"


def grid(brought: Brought, **more: Any) -> dict[str, Any]:
    """What an import says to write, as a whole params.yaml."""
    lines: dict[str, Any] = yaml.safe_load(str(brought).partition("\n\n")[2])
    assert lines == brought.lines
    beside = {"model": ["convnet"], "seed": [0], "defense": [], "analysis": []}
    lines["grid"] = beside | {"poison_ratio": [0.1]} | lines["grid"] | more
    return lines


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with prepared digits, and nothing else."""
    folder = tmp_path_factory.mktemp("digits")
    raw = yaml.safe_load(presets.text("smoke"))
    raw["grid"] |= {"defense": ["clp", "strip"], "analysis": []}
    raw["training"]["epochs"] = 4
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    with contextlib.chdir(folder):
        do("prepare", "digits")
    return folder


def do(stage: str, *arguments: Any) -> None:
    importlib.import_module(f"bdb.stages.{stage}").run(all_jobs.from_params(), *arguments)


@pytest.fixture(scope="module")
def made(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was exported, and imported again beside itself."""
    folder = tmp_path_factory.mktemp("made") / "here"
    shutil.copytree(digits, folder)
    with contextlib.chdir(folder):
        run = Run.parse(RUN)
        do("poison", run)
        do("train", run)
        pictures.export(RUN, Path("set"))
        weights.export(RUN, Path("victim.safetensors"))
        said = convert.bring(Path("victim.safetensors"), "mine", Told(), Beside("", *TABLES))
        raw = plain_values.read(layout.PARAMS)
        raw["attacks"] = grid(said)["attacks"]
        raw["grid"]["attack"] = ["badnets", "mine"]
        layout.PARAMS.write_text(yaml.safe_dump(raw))
    return folder


def same(board: pd.DataFrame) -> bool:
    """Whether a board's rows say the same of both."""
    columns = ["defense", "c_acc", "asr", "ra", "inputs_auroc", "targets", "psnr"]
    ours, theirs = (
        board.loc[board.attack == name, columns].reset_index(drop=True)
        for name in ("badnets", "mine")
    )
    pd.testing.assert_frame_equal(ours, theirs)
    return len(ours) == 3


@pytest.mark.evidence
def test_a_run_that_was_exported_and_imported_is_the_same_run(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    jobs = all_jobs.from_params()
    ours, theirs = jobs.plan.runs
    assert (str(ours), str(theirs)) == (RUN, "digits/convnet/mine/0/s0")
    do("poison", theirs)
    do("train", theirs)
    tables = [artifacts.read_table(layout.victim(run) / "predictions.parquet")
              for run in (ours, theirs)]  # fmt: skip
    pd.testing.assert_frame_equal(*tables)
    for run, defense in jobs.plan.cells:
        do("defend", run, defense)
    for run in (ours, theirs):
        do("evaluate", run)
    board = boards.make(jobs.plan)
    assert same(board)
    marked = board[board.attack == "mine"].setting
    assert marked.str.startswith("mine.method=imported mine.of=digits/convnet").all()
    assert board.groupby("attack").recipe.unique().to_dict() == {
        "badnets": ["fast"], "mine": ["imported"]
    }  # fmt: skip
    assert "training.epochs=4" not in marked[board.defense == "none"].item()
    assert suspects.recipe(files.read(layout.model(theirs))) == ""
    record = artifacts.read_json(layout.victim(theirs) / "provenance.json")
    assert record["imported"]["source"] == "victim.safetensors"
    assert len(record["imported"]["sha256"]) == 64
    assert (record["recipe"], record["augmentation"]) == (None, None)


@pytest.mark.evidence
def test_both_engines_run_it_as_any_other(made: Path, new_project: Callable[..., Any]) -> None:
    project = new_project().init_dvc()
    shutil.copytree(made / "data/imported", project.folder / "data/imported")
    shutil.copy(made / "params.yaml", project.folder)
    project.make()
    assert same(pd.read_csv(project.folder / "results/board.csv"))
    assert project.is_clean()
    again = project.dvc("repro")
    assert again.returncode == 0, again.stderr
    assert project.is_clean()


def test_a_changed_source_or_grid_is_noticed(made: Path) -> None:
    attack = Imported.make(path=str(made / "data/imported/mine"), source="0" * 12)
    with pytest.raises(ParamsError, match="imported from another file than source 000000000000"):
        attack.manifest()
    fitting = Imported.make(path=attack.path)
    assert isinstance(fitting, Attack)
    stored = models.load(made / "data/imported/mine/model.safetensors")
    wide = stored.spec.model_copy(update={"fields": {"width": 32}})
    with pytest.raises(ParamsError, match=r"a model of .*'width': 16.*and the grid's is"):
        fitting.victim(wide, torch.device("cpu"))


# BackdoorBench's own form, written as its record is.


@pytest.fixture
def here(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it."""
    shutil.copytree(digits, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def network(data: DataSpec) -> models.Classifier:
    plain = data.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3})
    spec = ModelSpec(architecture="preactresnet18", fields={"width": 4}, data=plain)
    return models.build(spec, 0).eval()


def record(folder: Path, part: str, split: Any, chosen: list[int], give: Any) -> dict[str, Any]:
    """The state of a data set of BackdoorBench, with its images as PNG files."""
    entries = {}
    for index in chosen:
        label = int(split.labels[index])
        path = Path(f"bd_{part}_dataset/{label}/{index}.png")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = split.images[index].clone()
        pixels[:, -3:, -3:] = 255
        picture(pixels).save(folder / path)
        where = f"./record\\run\\{path}".replace("/", "\\")
        entries[np.int64(index)] = {"path": where, "other_info": [give(label), label]}
    indicator = np.zeros(len(split))
    indicator[chosen] = 1
    order = np.arange(len(split)) if part == "train" else np.array(chosen)
    return {
        "bd_data_container": {
            "save_folder_path": None, "data_dict": entries, "save_file_format": ".png",
        },
        "getitem_all": True,
        "original_index_array": order,
        "poison_indicator": indicator,
    }  # fmt: skip


def result(folder: Path, **changes: Any) -> Path:
    """An attack_result.pt, and the folders that it speaks of."""
    (train, data), (test, _) = (read_split("digits", part) for part in ("train", "test"))
    folder.mkdir()
    net = network(data)
    state = OrderedDict(
        (f"module.{name.replace('head.', 'linear.')}", tensor)
        for name, tensor in net.state_dict().items()
        if name not in ("mean", "std")
    )
    others = [index for index in range(40) if int(test.labels[index]) != 2]
    content = {
        "model_name": "preactresnet18", "num_classes": 10, "model": state,
        "data_path": "./data/digits", "img_size": (32, 32, 3), "clean_data": "digits",
        # Every fifth keeps its label: a cover, unless it is of the target's class.
        "bd_train": record(folder, "train", train, list(range(0, 60, 3)),
                           lambda label: label if label > 6 else 2),
        "bd_test": record(folder, "test", test, others, lambda _: 2),
    }  # fmt: skip
    torch.save(content | changes, folder / "attack_result.pt")
    return folder


def test_a_result_of_backdoorbench_is_a_run(here: Path) -> None:
    said = convert.bring(result(here / "found"), "theirs", TOLD, Beside())
    shutil.rmtree(here / "found")  # What was converted stands for itself.
    layout.PARAMS.write_text(yaml.safe_dump(grid(said, defense=["clp"])))
    jobs = all_jobs.from_params()
    (run,) = jobs.plan.runs
    assert str(run) == "digits/theirs_net/theirs/0/s0"
    do("poison", run)
    do("train", run)
    (train, data), (test, _) = (read_split("digits", part) for part in ("train", "test"))
    images = torch.rand(2, 3, 32, 32)
    ours, theirs = models.load(layout.model(run)), network(data)
    assert torch.allclose(ours(images), theirs(images), atol=1e-5)
    poison, _ = artifacts.read_tensors(layout.poisoned(run))
    ids, labels = poison["train_ids"], train.labels[poison["train_ids"]]
    assert ids.tolist() == list(range(0, 60, 3))
    assert poison["is_cross"].tolist() == (labels > 6).tolist()
    assert torch.equal(poison["is_poison"], ~poison["is_cross"])
    assert bool((poison["train_images"][:, :, -3:, -3:] == 255).all())
    assert torch.equal(poison["train_images"][:, :, :-3], train.images[ids][:, :, :-3])
    assert poison["test_targets"].eq(2).all()
    assert torch.equal(test.labels[poison["test_ids"]], poison["test_labels"])


def test_what_did_not_come_leaves_out_what_needs_it(here: Path) -> None:
    folder = result(here / "found", bd_train=None, bd_test=None)
    said = convert.bring(folder, "bare", TOLD, Beside())
    more = {"defense": ["ac", "abl", "strip", "clp"], "analysis": ["triggers", "confusion"]}
    layout.PARAMS.write_text(yaml.safe_dump(grid(said, **more)))
    jobs = all_jobs.from_params()
    assert [name for _, name in jobs.plan.cells] == ["clp"]
    shown = plan_text.overview(jobs.plan)
    for reason in (
        "ac needs a training set, and bare leaves none",
        "abl needs a training set, and bare leaves none",
        "strip needs triggered images, and bare leaves none",
        "triggers needs triggered images, and bare leaves none",
    ):
        assert reason in shown
    (run,) = jobs.plan.runs
    steps = (("poison", run), ("train", run), ("defend", run, "clp"), ("evaluate", run))
    for stage, *arguments in steps:
        do(stage, *arguments)
    measured = artifacts.read_json(layout.metrics(run))
    assert measured["victim"]["asr"] is None
    assert measured["cells"]["clp"]["c_acc"] is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"clean_set": {"source": "reserved"}}, "saw every image, so none is reserved"),
        ({"model": ["convnet"]}, "theirs is a victim of digits/theirs_net"),
        ({"attack": ["imported"]}, "imported by itself is no victim; `bdb import` makes an"),
    ],
)
def test_it_stands_on_the_grid_where_it_belongs(
    here: Path, changes: dict[str, Any], reason: str | None
) -> None:
    lines = grid(convert.bring(result(here / "found"), "theirs", TOLD, Beside()))
    lines["clean_set"] = changes.pop("clean_set", lines["clean_set"])
    lines["grid"] |= {"attack": ["none", "theirs"]} | changes
    lines["grid"]["attack"] = list(dict.fromkeys(["none", *lines["grid"]["attack"]]))
    layout.PARAMS.write_text(yaml.safe_dump(lines))
    reasons = [part.reason for part in all_jobs.from_params().plan.left_out]
    assert bool(reasons) == bool(reason)
    assert not reason or reason in reasons[0]


class Call:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {MARK}",)


def test_a_hostile_file_is_refused_by_name_of_what_it_would_call(here: Path) -> None:
    folder = result(here / "found", bd_train={"x": Call()})
    with pytest.raises(SuspectError, match=r"would call posix\.system"):
        convert.bring(folder, "evil", TOLD, Beside())
    (folder / "attack_result.pt").write_bytes(pickle.dumps(Call(), 2))
    with pytest.raises(SuspectError, match=r"would call posix\.system"):
        convert.bring(folder, "evil", TOLD, Beside())
    assert not Path(MARK).exists()
    assert not layout.IMPORTED.exists()


def spoiled(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The same result with its record of test images changed."""
    path = result(folder) / "attack_result.pt"
    with torch.serialization.safe_globals(torch_files.numpy_globals()):
        content = torch.load(path, weights_only=True)
    change(content["bd_test"])
    torch.save(content, path)
    return folder


def first(state: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = next(iter(state["bd_data_container"]["data_dict"].values()))
    return entry


SPOILED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "out": (lambda s: first(s).update(path="./record/../../x.png"), "leads out of"),
    "gone": (lambda s: first(s).update(path="./record/a/b/c.png"), "is no file below"),
    "label": (lambda s: first(s).update(other_info=[2, 9]), "another data set, or another order"),
    "class": (lambda s: first(s).update(other_info=[70, int(first(s)["other_info"][1])]),
              "label 70 is none of 10 classes"),
    "form": (lambda s: first(s).update(other_info=3), "not as BackdoorBench records images"),
    "far": (lambda s: s.update(original_index_array=np.array([10**6])), "not as BackdoorBench"),
    "twice": (lambda s: s.update(original_index_array=np.array([0, 0])), "index 0 stands twice"),
    "lacks": (lambda s: s.pop("poison_indicator"), "not as BackdoorBench records images"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_a_record_that_does_not_fit_is_one_line(here: Path, name: str) -> None:
    change, message = SPOILED[name]
    folder = spoiled(here / "found", change)
    with pytest.raises(BdbError, match=message) as caught:
        convert.bring(folder, "theirs", TOLD, Beside())
    assert "\n" not in str(caught.value)
    assert not layout.IMPORTED.exists()


# A plain victim, with folders beside it.


def plain(folder: Path) -> Path:
    """Weights alone."""
    _, data = read_split("digits", "test")
    path = folder / "net.pt"
    torch.save(network(data).state_dict(), path)
    return path


def test_a_plain_victim_with_folders_of_pictures(here: Path) -> None:
    result(here / "found")
    beside = Beside("digits", here / "found/bd_train_dataset", here / "found/bd_test_dataset", 2)
    said = convert.bring(plain(here), "own", Told("preactresnet18"), beside)
    assert "preactresnet18, 20 poisons, 0 covers, 36 triggered test images" in said.said
    assert grid(said)["clean_set"] == {"source": "seen"}


@pytest.mark.parametrize(
    ("network", "lacks"), [("resnet18", None), ("mobilenet_v3_small", ["maps"])]
)
def test_a_network_of_torchvision_is_a_run(
    here: Path, network: str, lacks: list[str] | None
) -> None:
    torch.manual_seed(0)
    net = torchvision().models.get_model(network, num_classes=10).eval()
    torch.save(net.state_dict(), here / "net.pt")
    said = convert.bring(here / "net.pt", "brought", Told(network, 0, "none"), Beside("digits"))
    lines = grid(said, defense=["clp", "nad"])
    (spec,) = (lines.get("models") or {"foreign": {"method": "foreign"}}).values()
    assert (spec["method"], spec.get("lacks")) == ("foreign", lacks)
    layout.PARAMS.write_text(yaml.safe_dump(lines))
    jobs = all_jobs.from_params()
    (run,) = jobs.plan.runs
    reasons = [part.reason for part in jobs.plan.left_out]
    assert reasons == ([f"nad acts on maps, and {run.model} has none"] if lacks else [])
    do("poison", run)
    do("train", run)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(models.load(layout.model(run))(images), net(images), atol=1e-5)


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        (Beside(), "--dataset NAME"),
        (Beside("mnist"), "mnist"),
        (Beside("digits", Path("found/bd_train_dataset")), "say the class it was given, --target"),
        (Beside("digits", None, Path("found/attack_result.pt")), "cannot be read as CSV"),
        (Beside("digits", None, Path("none.csv")), "No such file"),
        (Beside("digits", None, Path("odd.csv")), "has no column 'given_label'"),
        (Beside("digits", None, Path("bad.csv")), "bad.csv, line 2: .* is no row"),
        (Beside("digits", None, Path("big.csv")), "cannot be read as PNG .*8 x 8 pixels"),
    ],
)
def test_what_lies_beside_and_does_not_fit_is_one_line(
    here: Path, beside: Beside, message: str
) -> None:
    result(here / "found")
    test, _ = read_split("digits", "test")
    header = "path,index,given_label,true_label\n"
    Path("odd.csv").write_text("path,index,label\n")
    Path("bad.csv").write_text(f"{header}a.png,zero,1,2\n")
    Path("big.csv").write_text(f"{header}big.png,0,1,{int(test.labels[0])}\n")
    picture(test.images[0][:, :8, :8]).save("big.png")
    with pytest.raises(BdbError, match=message) as caught:
        convert.bring(plain(here), "own", Told("preactresnet18"), beside)
    assert "\n" not in str(caught.value)


def test_the_command_puts_it_on_the_grid(here: Path, capsys: Any) -> None:
    words = [str(plain(here)), "own", "--arch", "preactresnet18", "--normalize", "none", "--edit"]
    before = layout.PARAMS.read_text()
    with pytest.raises(ParamsError, match="--dataset NAME"):
        cli.app(["import", *words], standalone_mode=False)
    assert layout.PARAMS.read_text() == before
    cli.app(["import", *words, "--dataset", "digits"], standalone_mode=False)
    assert "params.yaml: grid.model: [own_net]; grid.attack: [own];" in capsys.readouterr().out
    runs = all_jobs.from_params().plan.runs
    assert {str(run) for run in runs} >= {RUN, "digits/own_net/own/0/s0"}
    layout.PARAMS.write_text("grid: [")
    with pytest.raises(ParamsError, match="line 1"):
        cli.app(["import", *words, "--dataset", "digits"], standalone_mode=False)


def test_what_was_brought_already_is_left_alone_and_said_again(here: Path) -> None:
    source, told = plain(here), Told("preactresnet18")
    first = convert.bring(source, "own", told, Beside("digits"))
    files = {path: path.stat().st_ino for path in (layout.IMPORTED / "own").iterdir()}
    assert str(convert.bring(source, "own", told, Beside("digits"))) == str(first)
    assert {path: path.stat().st_ino for path in (layout.IMPORTED / "own").iterdir()} == files
    assert [path.name for path in layout.IMPORTED.iterdir()] == ["own"]
    state = torch.load(source)
    torch.save(state | {"head.bias": state["head.bias"] + 1}, source)
    with pytest.raises(ParamsError, match="is there already"):
        convert.bring(source, "own", told, Beside("digits"))


@pytest.mark.parametrize("name", ["badnets", "none_2", "a/b", "../x", ""])
def test_a_name_is_one_that_an_instance_may_have(here: Path, name: str) -> None:
    with pytest.raises(ParamsError, match="cannot name an instance"):
        convert.bring(plain(here), name, Told(), Beside("digits"))
    (layout.IMPORTED / "there").mkdir(parents=True)
    with pytest.raises(ParamsError, match="is there already"):
        convert.bring(plain(here), "there", Told(), Beside("digits"))


def test_the_catalogue_knows_it_for_what_it_is() -> None:
    entry = catalogue.load().get("attack", "imported")
    assert entry.can("brought")
    assert not entry.can("uses_ratio")
    assert issubclass(DataError, BdbError)
