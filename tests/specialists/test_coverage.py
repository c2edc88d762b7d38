"""The table of what specialists change, by how many of them cover the correct class."""

from __future__ import annotations

import pytest
import torch

from kdcli.specialists import active_specialists, combine, coverage_table

SETS = ((0, 1), (1, 2), (1, 3))


def test_the_table_counts_by_the_specialists_of_the_correct_class() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1, 4, 4])
    before = torch.tensor([1, 0, 1, 1, 0, 1, 1], dtype=torch.bool)
    after = torch.tensor([1, 1, 1, 0, 0, 1, 1], dtype=torch.bool)
    rows = coverage_table(before, after, labels, SETS, num_classes=5)
    assert [(row.covered_by, row.examples, row.delta, row.relative) for row in rows] == [
        (0, 2, 0, 0.0),
        (1, 2, 1, 1.0),
        (3, 3, -1, -0.5),
    ]


def test_the_last_row_holds_all_that_have_more() -> None:
    labels = torch.tensor([0, 1, 1, 2])
    right = torch.ones(4, dtype=torch.bool)
    rows = coverage_table(right, right, labels, SETS, num_classes=4, most=1)
    assert [(row.covered_by, row.examples) for row in rows] == [(1, 4)]


def test_nothing_right_before_has_no_relative_change() -> None:
    row = coverage_table(torch.tensor([False]), torch.tensor([True]), torch.tensor([0]), SETS, num_classes=4)[0]
    assert (row.delta, row.relative) == (1, None)


def test_the_row_without_specialists_cannot_lose() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (3000,), generator=draw)
    generalist = torch.randn(3000, 5, dtype=torch.float64, generator=draw)
    generalist = (generalist + 2 * torch.nn.functional.one_hot(labels, 5)).softmax(1)
    said = [torch.randn(3000, 3, dtype=torch.float64, generator=draw).mul(2).softmax(1) for _ in SETS]
    after = combine(generalist, said, SETS, active_specialists(generalist, SETS)).argmax(1) == labels
    rows = coverage_table(generalist.argmax(1) == labels, after, labels, SETS, num_classes=5)
    assert rows[0].covered_by == 0
    assert rows[0].delta > 0  # a wrong generalist may be put right
    assert min(row.delta for row in rows[1:]) < 0  # these specialists know nothing


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        coverage_table(torch.ones(3).bool(), torch.ones(2).bool(), torch.zeros(3).long(), SETS, num_classes=4)
