import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bdb.datasets.split import drawn, part_counts, part_mask
from bdb.training.seeds import numpy_generator

COUNTS = st.lists(st.integers(0, 300), min_size=1, max_size=50)
FRACTION = st.integers(0, 999).map(lambda thousandths: thousandths / 1000)


@given(COUNTS, FRACTION)
def test_counts_are_exact_in_all_and_within_one_of_each_share(
    counts: list[int], fraction: float
) -> None:
    taken = part_counts(counts, fraction)
    assert sum(taken) == round(sum(counts) * fraction)
    for count, part in zip(counts, taken, strict=True):
        assert 0 <= part <= count
        assert abs(part - count * fraction) < 1 + 1e-9


@given(COUNTS, FRACTION, st.integers(0, 2**31))
def test_mask_is_stratified_as_counted(counts: list[int], fraction: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    numpy_generator(seed).shuffle(labels)
    mask = part_mask(labels, fraction, numpy_generator(seed, "mask"))
    # Trailing classes without images are not in the labels, so they are not counted.
    taken = np.bincount(labels[mask], minlength=len(counts)).tolist()
    assert taken == part_counts(np.bincount(labels, minlength=len(counts)).tolist(), fraction)


def test_the_seed_decides_which_images() -> None:
    labels = np.tile(np.arange(10), 100)
    one, same, other = (part_mask(labels, 0.05, numpy_generator(seed)) for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()
    assert one.sum() == other.sum() == 50


def test_every_image_of_a_class_has_the_same_chance() -> None:
    labels = np.tile(np.arange(2), 50)
    drawn = sum(part_mask(labels, 0.2, numpy_generator(seed)).astype(int) for seed in range(500))
    assert drawn.min() > 60
    assert drawn.max() < 140


def test_where_a_class_has_too_few_all_of_it_is_drawn() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    mask = drawn(labels, [2, 3, 0], numpy_generator(0))
    assert np.bincount(labels[mask]).tolist() == [2, 1]
