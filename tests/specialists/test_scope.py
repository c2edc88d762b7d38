"""Networks with an output for every class, measured in the terms of what they answer for; and asked together."""

from __future__ import annotations

import math

import pytest
import torch

from kdcli.specialists import Council, Scope

LOGITS = torch.tensor([[3.0, 1.0, 1.0, 0.0], [0.0, 2.0, 1.9, 0.0], [0.0, 2.0, 1.9, 1.5], [0.0, 0.0, 0.0, 5.0]])
LABELS = torch.tensor([0, 2, 1, 3])


def test_classes_of_the_dustbin_are_not_told_apart() -> None:
    """Of special class 1: example 1 is of the dustbin, whose classes together outweigh class 1; example 2 is of 1."""
    found = Scope(4, (1,)).measure(LOGITS, LABELS, None)
    dustbin_wins = [sum(math.exp(z) for c, z in enumerate(row) if c != 1) > math.exp(row[1]) for row in LOGITS.tolist()]
    right = [wins == (label != 1) for wins, label in zip(dustbin_wins, LABELS.tolist(), strict=True)]
    assert (found.n, found.errors) == (4, right.count(False)) == (4, 1)
    assert found.agreement is None


def test_who_knows_all_classes_is_measured_as_usual() -> None:
    found = Scope(4, None).measure(LOGITS, LABELS, LOGITS.log_softmax(-1))
    assert (found.errors, found.agreement) == (1, 1.0)
    assert found.kl_to_teacher == pytest.approx(0, abs=1e-6)


def test_the_one_specialist_that_is_asked_shifts_its_own_classes_and_the_others_keep_their_shares() -> None:
    council = Council(((1, 2), (0,)), top=1)
    other = torch.tensor([[0.0, 5.0, 0.0, 0.0]] * 4)
    p, m = LOGITS.double().softmax(-1), other.double().softmax(-1)
    found = council.log_probs(LOGITS, [other, other]).exp()
    expected = p.clone()
    for row, special in ((0, [0]), (1, [1, 2]), (2, [1, 2])):  # by the most probable class; nobody knows class 3
        rest = [c for c in range(4) if c not in special]
        expected[row, special] = (p + m)[row, special] / 2
        expected[row, rest] = p[row, rest] / p[row, rest].sum() * (p + m)[row, rest].sum() / 2
    assert torch.allclose(found, expected, rtol=1e-6)
    assert council.active(LOGITS).tolist() == [[False, True], [True, False], [True, False], [False, False]]


def test_certainty_stays_finite() -> None:
    sure = torch.tensor([[2000.0, 0.0, 0.0]])
    found = Council(((0, 1),), top=1).log_probs(sure, [torch.tensor([[0.0, 2000.0, 0.0]])])
    assert found.isfinite().all()
    assert torch.allclose(found.exp(), torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64))
