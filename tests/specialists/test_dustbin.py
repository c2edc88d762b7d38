"""A specialist's outputs, and what a network of all classes says in its terms."""

from __future__ import annotations

import math

import pytest
import torch

from kdcli.specialists import DUSTBIN, aggregate, outputs_of

SPECIAL = (1, 4, 5)


def test_labels_outside_the_special_classes_go_to_the_dustbin() -> None:
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 6, 4])
    assert outputs_of(SPECIAL, 7)[labels].tolist() == [DUSTBIN, 1, DUSTBIN, DUSTBIN, 2, 3, DUSTBIN, 2]


def test_the_dustbin_holds_the_sum_of_its_classes() -> None:
    logits = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    said = aggregate(logits.log_softmax(-1), SPECIAL).exp()
    for row, scores in zip(said.tolist(), logits.tolist(), strict=True):
        weights = [math.exp(score) for score in scores]
        parts = [sum(weights[c] for c in (0, 2, 3, 6)), *(weights[c] for c in SPECIAL)]
        assert row == pytest.approx([part / sum(weights) for part in parts], rel=1e-12)


def test_logits_may_be_normalised_before_or_after() -> None:
    logits = 5 * torch.randn(2, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    after = aggregate(logits, SPECIAL).log_softmax(-1)
    torch.testing.assert_close(after, aggregate(logits.log_softmax(-1), SPECIAL))


@pytest.mark.parametrize("special", [(), (4, 1), (1, 1), (7,), (-1, 2), tuple(range(7))])
def test_classes_that_leave_no_dustbin_or_no_order_are_refused(special: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="some of 0 to 6"):
        outputs_of(special, 7)
    with pytest.raises(ValueError, match="some of 0 to 6"):
        aggregate(torch.zeros(2, 7), special)
