from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcli.data.order import batches, epoch_order, mix_seed


def test_one_step_is_splitmix64() -> None:
    # The first output of the published generator for the state 1234567 is 6457827717110365317. The state before a
    # single number is what one step makes of the count 1, so that xor undoes it.
    def step(value: int) -> int:
        value = (value + 0x9E3779B97F4A7C15) % 2**64
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
        return value ^ value >> 31

    assert step(1234567) == 6457827717110365317
    assert mix_seed(1234567 ^ step(1)) == 6457827717110365317 >> 1


def test_seeds_differ_by_number_order_and_count() -> None:
    seeds = [mix_seed(*numbers) for numbers in ((), (0,), (0, 0), (1, 0), (0, 1), (1,), (-1,), (2**63,), (1, 2, 3))]
    assert len({seed % 2**32 for seed in seeds}) == len(seeds)  # torch's generator on the CPU uses 32 bits
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_neighbouring_seeds_share_half_of_their_bits() -> None:
    changed = [(mix_seed(seed, 7) ^ mix_seed(seed + 1, 7)).bit_count() for seed in range(200)]
    assert 28 < sum(changed) / len(changed) < 35  # 63 bits


@given(st.integers(0, 2**32 - 1), st.integers(0, 1000), st.integers(1, 200))
def test_an_order_is_a_permutation_that_can_be_repeated(data_seed: int, epoch: int, num: int) -> None:
    order = epoch_order(data_seed, epoch, num)
    assert sorted(order.tolist()) == list(range(num))
    assert torch.equal(order, epoch_order(data_seed, epoch, num))


def test_orders_differ_between_epochs_and_seeds_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    orders = {tuple(epoch_order(seed, epoch, 50).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert torch.equal(torch.get_rng_state(), state)


@given(st.integers(1, 300), st.integers(1, 40))
def test_batches_hold_every_example_but_a_single_last_one(num: int, batch_size: int) -> None:
    order = epoch_order(0, 0, num)
    parts = batches(order, batch_size)
    single = num % batch_size == 1 and num > batch_size
    assert torch.equal(torch.cat(parts), order[:-1] if single else order)
    assert all(len(part) == batch_size for part in parts[:-1])
    assert batch_size == 1 or num == 1 or len(parts[-1]) > 1
