from __future__ import annotations

import pytest
import torch
from torch import nn

from kdcli.models.dropout import Dropout, draw_mask, set_generator


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_training_zeroes_its_share_and_rescales_the_rest() -> None:
    dropout = Dropout(0.2)
    dropout.generator = seeded(3)
    ones = dropout(torch.ones(500, 401))
    dropped = round(0.2 * 65536) / 65536
    kept = ones[ones > 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - dropped)))
    share, spread = 1 - len(kept) / ones.numel(), (0.2 * 0.8 / ones.numel()) ** 0.5
    assert abs(share - dropped) < 5 * spread
    columns = (ones == 0).float().mean(0)
    assert (columns - dropped).abs().max() < 6 * (0.2 * 0.8 / 500) ** 0.5, "every position has the same chance"


def test_neighbouring_masks_are_independent() -> None:
    generator = seeded(5)
    mask = draw_mask(torch.empty(400_000), 0.5, generator) > 0
    for lag in (1, 2, 3, 4, 5):
        agree = float((mask[lag:] == mask[:-lag]).float().mean())
        assert abs(agree - 0.5) < 5 * 0.5 / 400_000**0.5


def test_mask_does_not_depend_on_the_memory_layout_of_the_input() -> None:
    dropout = Dropout(0.5)
    x = torch.rand(6, 4)
    dropout.generator = seeded(0)
    expected = dropout(x)
    dropout.generator = seeded(0)
    assert torch.equal(dropout(x.t().contiguous().t()), expected)


def test_share_of_zeros_is_p_within_five_standard_deviations() -> None:
    dropout = Dropout(0.3)
    dropout.generator = seeded(0)
    zeros = (dropout(torch.ones(100_000)) == 0).double().mean().item()
    assert abs(zeros - 0.3) < 5 * (0.3 * 0.7 / 100_000) ** 0.5


def test_eval_mode_is_the_identity_and_draws_nothing() -> None:
    dropout = Dropout(0.5).eval()
    dropout.generator = seeded(1)
    x = torch.randn(3)
    assert dropout(x) is x
    assert torch.equal(dropout.generator.get_state(), seeded(1).get_state())


def test_probability_zero_is_the_identity_and_draws_nothing() -> None:
    dropout = Dropout(0.0)
    dropout.generator = seeded(1)
    x = torch.randn(3)
    assert dropout(x) is x
    assert torch.equal(dropout.generator.get_state(), seeded(1).get_state())


def test_own_generator_leaves_the_global_one_alone() -> None:
    dropout = Dropout(0.5)
    dropout.generator = seeded(1)
    before = torch.get_rng_state()
    dropout(torch.zeros(9))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_the_global_one_is_used() -> None:
    dropout = Dropout(0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        first = dropout(torch.ones(50))
    dropout.generator = seeded(11)
    assert torch.equal(first, dropout(torch.ones(50)))


def test_set_generator_gives_all_dropouts_of_a_module_one_generator() -> None:
    net = nn.Sequential(Dropout(0.1), nn.Sequential(nn.ReLU(), Dropout(0.2)))
    generator = seeded(0)
    set_generator(net, generator)
    assert [module.generator for module in net.modules() if isinstance(module, Dropout)] == [generator, generator]
    set_generator(net, None)
    assert [module.generator for module in net.modules() if isinstance(module, Dropout)] == [None, None]


def test_printing_a_network_shows_the_probability() -> None:
    assert str(Dropout(0.25)) == "Dropout(p=0.25)"


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_probability_outside_the_range_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="dropout must lie in"):
        Dropout(p)
