"""Where specialists help: examples by the number of specialists to whom the correct class is special."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kdcli.specialists.clusters import ClassSets, membership

MOST = 10


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """The test examples whose class is special to ``covered_by`` specialists.

    Attributes:
        covered_by: The number of specialists; the greatest that is told apart stands for itself and all above.
        examples: How many examples.
        delta: How many more of them are right with the specialists than without.
        relative: ``delta`` over the number that was right without them, None where that is 0.
    """

    covered_by: int
    examples: int
    delta: int
    relative: float | None


def coverage_table(
    before: Tensor, after: Tensor, labels: Tensor, sets: ClassSets, *, num_classes: int, most: int = MOST
) -> tuple[CoverageRow, ...]:
    """Table 4 of the paper: what the specialists change, by how many of them cover the correct class.

    Where none covers it and one class makes a specialist active, the generalist was wrong if a specialist was asked:
    that row cannot lose.

    Args:
        before: Which examples the generalist gets right, bool ``(N,)``.
        after: Which the combined distribution gets right.
        labels: Their classes, int64 ``(N,)``.
        sets: The special classes of each specialist.
        num_classes: C.
        most: From how many specialists on the examples share a row.

    Returns:
        A row for each number of specialists that any example has, in order.

    Raises:
        ValueError: If the shapes differ.

    Reference:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", table 4. arXiv:1503.02531.
    """
    if not before.shape == after.shape == labels.shape or labels.dim() != 1:
        raise ValueError(f"shapes differ: {tuple(before.shape)}, {tuple(after.shape)}, {tuple(labels.shape)}")
    covering = membership(sets, num_classes).sum(0).clamp_max(most)[labels.cpu()]
    before, after = before.cpu(), after.cpu()
    return tuple(
        _row(number, before[covering == number], after[covering == number]) for number in covering.unique().tolist()
    )


def _row(covered_by: int, before: Tensor, after: Tensor) -> CoverageRow:
    right = int(before.sum())
    delta = int(after.sum()) - right
    return CoverageRow(covered_by, len(before), delta, delta / right if right else None)
