import torch
from hypothesis import given
from hypothesis import strategies as st

from bdb.training import seeds

names = st.lists(st.text(max_size=5), max_size=3)


@given(seed=st.integers(0, 2**31 - 1), path=names)
def test_the_same_names_give_the_same_draws(seed: int, path: list[str]) -> None:
    first = torch.rand(3, generator=seeds.generator(seed, *path))
    assert torch.equal(first, torch.rand(3, generator=seeds.generator(seed, *path)))
    other = torch.rand(3, generator=seeds.generator(seed, *path, "more"))
    assert not torch.equal(first, other)


def test_draws_by_id_do_not_depend_on_the_batch() -> None:
    ids = torch.tensor([7, 3, 50_000, 3])
    draws = seeds.uniform_by_id(ids, 5, seed=1)
    assert draws.shape == (4, 5)
    assert torch.equal(draws[1], draws[3])
    assert torch.equal(draws[2:3], seeds.uniform_by_id(ids[2:3], 5, seed=1))
    assert not torch.equal(draws, seeds.uniform_by_id(ids, 5, seed=2))


def test_draws_by_id_are_uniform() -> None:
    draws = seeds.uniform_by_id(torch.arange(4000), 8, seed=0)
    assert float(draws.min()) >= 0
    assert float(draws.max()) < 1
    assert abs(float(draws.mean()) - 0.5) < 0.01
    assert abs(float(draws.var()) - 1 / 12) < 0.003
    correlation = torch.corrcoef(draws.T)
    assert float((correlation - torch.eye(8)).abs().max()) < 0.06


def test_isolated_seeding_puts_the_global_state_back() -> None:
    state = torch.get_rng_state()
    with seeds.isolated(3):
        first = torch.rand(2)
    with seeds.isolated(3):
        assert torch.equal(first, torch.rand(2))
    assert torch.equal(torch.get_rng_state(), state)
