import pytest

from bdb import layout
from bdb.errors import ParamsError
from bdb.layout import Run


def test_a_run_and_its_text_both_ways() -> None:
    run = Run("cifar10", "preactresnet18", "badnets", "0.005", 3)
    assert str(run) == "cifar10/preactresnet18/badnets/0.005/s3"
    assert Run.parse(str(run)) == run
    assert run.poison_ratio == 0.005


@pytest.mark.parametrize(
    "text",
    ["", "a/b/c/0.1", "a/b/c/0.1/0", "a/b/c/1.5/s0", "../b/c/0.1/s0", "a/b/c/0.10/s0", "a//c/0/s0"],
)
def test_what_is_not_a_run(text: str) -> None:
    with pytest.raises(ParamsError, match="is not dataset/model/attack/ratio/s<seed>"):
        Run.parse(text)


def test_clean_models_have_a_folder_of_their_own() -> None:
    run = Run("digits", "convnet", "badnets", "0.1", 0)
    assert str(layout.victim(run)) == "results/victims/digits/convnet/badnets/0.1/s0"
    assert str(layout.victim(run.control)) == "results/clean/digits/convnet/s0"


def test_who_completes_the_poison() -> None:
    run = Run("digits", "convnet", "wanet", "0.1", 0)
    assert layout.poison(run, controls_training=False) == layout.poisoned(run)
    assert layout.poison(run, controls_training=True).parent == layout.victim(run)
