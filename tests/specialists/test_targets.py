"""The targets of a specialist that keeps all classes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdcli.specialists import full_softmax_targets

SPECIAL = (1, 4)


def generalist() -> Tensor:
    return torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(1)


LABELS = torch.tensor([0, 1, 2, 3, 4, 4])


def test_other_classes_keep_what_the_generalist_gives_them() -> None:
    targets = full_softmax_targets(generalist(), LABELS, SPECIAL)
    assert torch.equal(targets[:, [0, 2, 3]], generalist()[:, [0, 2, 3]])


def test_what_is_left_goes_to_a_special_label() -> None:
    targets = full_softmax_targets(generalist(), LABELS, SPECIAL)
    for example in (1, 4, 5):
        label, p = int(LABELS[example]), generalist()[example].tolist()
        assert targets[example, label].item() == pytest.approx(p[1] + p[4], rel=1e-12)
        assert targets[example, 5 - label].item() == 0


def test_an_example_of_another_class_has_the_generalist_s_distribution() -> None:
    targets = full_softmax_targets(generalist(), LABELS, SPECIAL)
    for example in (0, 2, 3):
        assert torch.equal(targets[example], generalist()[example])


def test_targets_are_distributions() -> None:
    said = generalist().float()
    targets = full_softmax_targets(said, LABELS, SPECIAL)
    assert targets.dtype is torch.float32
    torch.testing.assert_close(targets.sum(1), torch.ones(6))
    assert float(targets.min()) >= 0


def test_the_labels_may_be_of_one_special_class_alone() -> None:
    """One special class leaves nothing to decide: the target is the generalist's own."""
    torch.testing.assert_close(full_softmax_targets(generalist(), LABELS, (1,)), generalist())


def test_classes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="some of 0 to 4"):
        full_softmax_targets(generalist(), LABELS, (1, 5))
