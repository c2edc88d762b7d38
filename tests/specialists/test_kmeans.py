"""k-means, held against all partitions of a few points."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from kdcli.specialists.kmeans import k_means


def points(count: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def inertia(points: Tensor, assignment: tuple[int, ...]) -> float:
    """From its definition: the squared distances to the mean of one's own."""
    total = 0.0
    for cluster in set(assignment):
        own = [row for row, number in zip(points.tolist(), assignment, strict=True) if number == cluster]
        mean = [sum(column) / len(own) for column in zip(*own, strict=True)]
        total += sum((x - m) ** 2 for row in own for x, m in zip(row, mean, strict=True))
    return total


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("clusters", [2, 3])
def test_no_partition_of_the_points_is_better(clusters: int, seed: int) -> None:
    every = product(range(clusters), repeat=7)
    best = min(inertia(points(7, seed), each) for each in every if len(set(each)) == clusters)
    assert k_means(points(7, seed), clusters, restarts=20).inertia == pytest.approx(best, rel=1e-12)


def test_what_it_reports_is_true_of_its_clusters() -> None:
    found = k_means(points(40), 5)
    assert found.inertia == pytest.approx(inertia(points(40), tuple(found.assignment.tolist())), rel=1e-12)
    for number, centre in enumerate(found.centres):
        torch.testing.assert_close(centre, points(40)[found.assignment == number].mean(0))
    distances = (points(40)[:, None] - found.centres).square().sum(-1)
    assert torch.equal(distances.argmin(1), found.assignment)


def test_one_cluster_for_each_point_leaves_no_distance() -> None:
    found = k_means(points(), 8)
    assert sorted(found.assignment.tolist()) == list(range(8))
    assert found.inertia == 0


@pytest.mark.parametrize("different", [1, 2])
def test_no_cluster_is_empty_where_points_are_equal(different: int) -> None:
    equal = points(different).repeat(3, 1)
    assert k_means(equal, 3).assignment.unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(10))
def test_one_start_finds_groups_that_lie_far_apart(seed: int) -> None:
    """What the seeds of k-means++ are for: eight points drawn alike would nearly always miss a group."""
    groups = 1000 * points(8).repeat_interleave(5, 0) + points(40, seed=1)
    found = k_means(groups, 8, seed=seed, restarts=1).assignment.view(8, 5)
    assert all(len(group.unique()) == 1 for group in found)
    assert len(found[:, 0].unique()) == 8


def test_the_seed_alone_decides() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = k_means(points(60), 7, seed=5, restarts=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = k_means(points(60), 7, seed=5, restarts=1)
    assert torch.equal(first.assignment, again.assignment)
    assert first.inertia == again.inertia
    assert len({k_means(points(60), 7, seed=seed, restarts=1).inertia for seed in range(8)}) > 1


def test_more_restarts_are_never_worse() -> None:
    found = [k_means(points(60), 7, restarts=restarts).inertia for restarts in (1, 5, 20)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("clusters", "restarts"), [(0, 1), (9, 1), (2, 0)])
def test_what_cannot_be_done_is_refused(clusters: int, restarts: int) -> None:
    with pytest.raises(ValueError, match="nothing to do"):
        k_means(points(), clusters, restarts=restarts)
