"""k-means: a small one of kd's own, that gives the same clusters for the same points and seed.

Shapes: N points of D dimensions, K clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_ROUNDS = 300


@dataclass(frozen=True)
class Clustering:
    """Points in clusters, none of them empty.

    ``assignment`` is the cluster of each point, int64 ``(N,)``; ``centres`` are their means, float64 ``(K, D)``;
    ``inertia`` is the sum of the squared distances of the points to their centres.
    """

    assignment: Tensor
    centres: Tensor
    inertia: float


def k_means(points: Tensor, clusters: int, *, seed: int = 0, restarts: int = 10) -> Clustering:
    """The best of several clusterings, each started from other points and improved until it stands still.

    Args:
        points: Shape ``(N, D)``; computed with in float64 on the CPU.
        clusters: How many, from 1 to N.
        seed: What the starts are drawn by.
        restarts: How many starts; of equally good clusterings the first is taken.

    Raises:
        ValueError: If ``clusters`` or ``restarts`` is out of range.

    Reference:
        Lloyd. "Least squares quantization in PCM". 1982. Arthur and Vassilvitskii. "k-means++: the advantages of
        careful seeding". 2007.
    """
    if not 1 <= clusters <= len(points) or restarts < 1:
        raise ValueError(f"{clusters} clusters of {len(points)} points in {restarts} restarts: nothing to do")
    points = points.cpu().double()
    draw = torch.Generator().manual_seed(seed)
    found = [_improved(points, _start(points, clusters, draw)) for _ in range(restarts)]
    return min(found, key=lambda one: one.inertia)


def _start(points: Tensor, clusters: int, draw: torch.Generator) -> Tensor:
    """The centres of k-means++: each next one is a point drawn with its squared distance to those before as weight."""
    chosen = [int(torch.randint(len(points), (), generator=draw))]
    while len(chosen) < clusters:
        weights = _squared_distances(points, points[chosen]).amin(1)
        if not weights.any():  # fewer different points than clusters
            weights = torch.ones_like(weights)
        chosen.append(int(torch.multinomial(weights, 1, generator=draw)))
    return points[chosen]


def _improved(points: Tensor, centres: Tensor) -> Clustering:
    """Points to their nearest centres and centres to their points' means, until no point changes sides."""
    assignment = _nearest(points, centres)
    for _ in range(MAX_ROUNDS):
        centres = _means(points, assignment, len(centres))
        again = _nearest(points, centres)
        if torch.equal(again, assignment):
            break
        assignment = again
    centres = _means(points, assignment, len(centres))
    return Clustering(assignment, centres, float((points - centres[assignment]).square().sum()))


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each point; a centre that has none gets the point farthest from a centre that has several.

    Neither step lets the inertia rise, so the improvement ends.
    """
    distances = _squared_distances(points, centres)
    assignment = distances.argmin(1)
    for empty in set(range(len(centres))) - set(assignment.tolist()):
        has_company = assignment.bincount(minlength=len(centres))[assignment] > 1
        own = distances.gather(1, assignment[:, None])[:, 0]
        assignment[own.where(has_company, -1.0).argmax()] = empty
    return assignment


def _means(points: Tensor, assignment: Tensor, clusters: int) -> Tensor:
    sums = points.new_zeros(clusters, points.shape[1]).index_add_(0, assignment, points)
    return sums / assignment.bincount(minlength=clusters)[:, None]


def _squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Shape ``(N, K)``, without the matrix product whose rounding would part points that are equal."""
    return torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
