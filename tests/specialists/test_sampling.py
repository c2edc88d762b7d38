"""Half and half, and its correction on examples whose posteriors are known."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from kdcli.errors import DataError
from kdcli.specialists import aggregate, dustbin_correction, half_and_half, outputs_of

SPECIAL = torch.arange(100, 130)
REST = torch.arange(1000, 1200)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def epoch(half: int, seed: int = 0) -> list[int]:
    drawn: list[int] = half_and_half(SPECIAL, REST, half, draw(seed)).tolist()
    return drawn


@pytest.mark.parametrize("half", [1, 30, 200, 431])
def test_half_of_an_epoch_is_special(half: int) -> None:
    drawn = epoch(half)
    assert len(drawn) == 2 * half
    assert sum(index < 1000 for index in drawn) == half
    assert set(drawn) <= {*SPECIAL.tolist(), *REST.tolist()}


@pytest.mark.parametrize("half", [30, 100, 431])
def test_no_example_of_a_part_is_seen_more_than_once_more_than_another(half: int) -> None:
    seen = Counter(epoch(half))
    for part in (SPECIAL, REST):
        times = {seen[index] for index in part.tolist()}
        assert max(times) - min(times) <= 1


def test_the_halves_are_mixed() -> None:
    first = epoch(200)[:200]
    assert 70 < sum(index < 1000 for index in first) < 130  # 100 +- 3 standard deviations of 10 at the most


def test_the_generator_alone_decides() -> None:
    assert epoch(50, 1) == epoch(50, 1)
    assert epoch(50, 1) != epoch(50, 2)


@pytest.mark.parametrize(("special", "rest"), [(0, 5), (5, 0)])
def test_an_empty_part_is_a_data_error(special: int, rest: int) -> None:
    with pytest.raises(DataError, match=f"{special} and {rest}"):
        half_and_half(SPECIAL[:special], REST[:rest], 5, draw())
    with pytest.raises(DataError, match=f"{special} and {rest}"):
        dustbin_correction(special, rest)


PRIORS = (0.05, 0.5, 0.03, 0.42)
MEANS = (-1.0, 0.0, 1.0, 2.5)
TAKEN = (0, 2)


def posterior(priors: tuple[float, ...], x: Tensor) -> Tensor:
    """Of four classes that are Gaussians of variance 1, shape (points, 4)."""
    densities = torch.stack([torch.exp(-0.5 * (x - mean) ** 2) for mean in MEANS], dim=1)
    joint = densities * torch.tensor(priors, dtype=torch.float64)
    return joint / joint.sum(1, keepdim=True)


def seen_in_training() -> tuple[float, ...]:
    """The priors of half and half: within each half the classes keep their proportions."""
    share = sum(PRIORS[c] for c in TAKEN)
    return tuple(prior / 2 / (share if c in TAKEN else 1 - share) for c, prior in enumerate(PRIORS))


def corrected(amount: float) -> Tensor:
    """The perfect specialist of the training distribution, corrected by an amount."""
    x = torch.linspace(-4, 6, 101, dtype=torch.float64)
    logits = aggregate(posterior(seen_in_training(), x).log(), TAKEN)
    logits[:, 0] += amount
    return logits.softmax(1)


def natural() -> Tensor:
    x = torch.linspace(-4, 6, 101, dtype=torch.float64)
    return aggregate(posterior(PRIORS, x).log(), TAKEN).exp()


def test_the_correction_gives_the_posterior_of_the_natural_frequencies() -> None:
    torch.testing.assert_close(corrected(dustbin_correction(8, 92)), natural())


@pytest.mark.parametrize(
    "other",
    [0.0, -math.log(92 / 8), math.log(0.5 / 0.08)],
    ids=["none", "the other sign", "the special classes' own oversampling"],
)
def test_other_readings_of_the_paper_do_not(other: float) -> None:
    assert float((corrected(other) - natural()).abs().max()) > 0.05


def test_the_special_classes_own_oversampling_falls_short_by_the_dustbin_s() -> None:
    assert dustbin_correction(8, 92) - math.log(0.5 / 0.08) == pytest.approx(math.log(2 * 0.92))


def test_equal_parts_need_no_correction() -> None:
    assert dustbin_correction(7, 7) == 0


def test_counts_of_sampled_examples_corrected_are_the_counts_of_all() -> None:
    """A specialist that has learned the frequencies of what it was shown, for one input of three values."""
    counts = torch.tensor([[300, 100, 20], [500, 2000, 1500], [40, 60, 500], [900, 3000, 1080]])  # class by value
    cells = torch.arange(12).repeat_interleave(counts.flatten())
    labels, values = outputs_of(TAKEN, 4)[cells // 3], cells % 3
    special, rest = (labels > 0).nonzero()[:, 0], (labels == 0).nonzero()[:, 0]
    drawn = half_and_half(special, rest, 50 * len(rest), draw())
    shown = (3 * labels[drawn] + values[drawn]).bincount(minlength=9).reshape(3, 3).double()
    logits = shown.log()
    logits[0] += dustbin_correction(len(special), len(rest))
    expected = torch.stack([counts[1] + counts[3], counts[0], counts[2]]).double()
    torch.testing.assert_close(logits.softmax(0), expected / expected.sum(0), rtol=0.01, atol=0)
