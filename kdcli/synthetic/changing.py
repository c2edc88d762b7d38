"""Tables that change row by row while the nearest neighbours of their rows are asked for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from kdcli.errors import DataError
from kdcli.synthetic.distance import MixedDistance

BLOCK = 64
_GROUP = 64


class ChangingTables:
    """B copies of a table, each changed in its own way, and the nearest neighbour of any row in the copy as it is now.

    Distances in float32, from products of blocks of rows with all rows, leave for every copy the few rows that can be
    the nearest one; among those, the exact distance in float64 decides. The answer is thus that of an exhaustive
    search, whatever the machine and its order of summation.

    A product is good for ``BLOCK`` rows. When a row changes, its distances to the rows of the block that are still to
    come are computed anew, and so are all of its own if it is one of them. To find the least of N distances, only
    groups are looked into whose least one is small enough; when rows change, a group's may be too small, never too
    large.

    Args:
        rows: The table, float64 ``(N, D)``, at least two rows.
        copies: How many of it change side by side.
        distance: The distance between its rows.
    """

    def __init__(self, rows: Tensor, copies: int, distance: MixedDistance) -> None:
        self.rows = rows.expand(copies, -1, -1).clone()
        self._distance = distance
        codes = pad(distance.encode(rows), (0, 0, 0, -len(rows) % _GROUP))
        squares = codes.square().sum(1)
        squares[len(rows) :] = torch.inf  # rows that fill up the last group are near to nothing
        self._codes = codes.expand(copies, -1, -1).clone()
        self._squares = squares.expand(copies, -1).clone()
        # Of the two squared norms' sum, what a float32 distance can be wrong by; see _bounds.
        self._slack = 2 * (codes.shape[1] + 8) * 2.0**-24
        self._copies = torch.arange(copies)
        self._block = range(0)
        self._low = torch.empty(copies, BLOCK, len(codes))
        self._least = torch.empty(copies, BLOCK, len(codes) // _GROUP)

    def begin(self, block: range) -> None:
        """Take the distances of up to ``BLOCK`` rows, whose nearest ones are asked for next."""
        self._block = block
        self._measure(slice(None), block)

    def nearest(self, index: int) -> Tensor:
        """The nearest other row to row ``index`` in each copy, int64 ``(B,)``; of equally near ones the first.

        To be asked for rows of the block in ascending order.
        """
        line = index - self._block.start
        groups, least = self._low[:, line].unflatten(1, (-1, _GROUP)), self._least[:, line]
        group = least.argmin(1)
        found, place = groups[self._copies, group].min(1)
        squares = self._squares[self._copies, group * _GROUP + place] + self._squares[:, index]
        high = (found + 2 * self._slack * squares)[:, None]
        copy, group = (least <= high).nonzero(as_tuple=True)
        some, place = (groups[copy, group] <= high[copy]).nonzero(as_tuple=True)
        return self._closest(index, copy[some], group[some] * _GROUP + place)

    def replace(self, index: int, other: Tensor, pair: Tensor) -> None:
        """Put ``pair``, float64 ``(B, 2, D)``, in place of row ``index`` and of row ``other``, int64 ``(B,)``."""
        where = torch.stack([torch.full_like(other, index), other], dim=1)
        codes = self._distance.encode(pair)
        squares = codes.square().sum(-1)
        if not squares.isfinite().all():
            raise DataError(
                "MUNGE drew a value too large to compute with", where="transfer.s", fix="raise transfer.s to 1 or more"
            )
        copies = self._copies[:, None]
        self.rows[copies, where], self._codes[copies, where], self._squares[copies, where] = pair, codes, squares
        coming = range(index + 1, self._block.stop)
        fresh = self._bounds(self._codes[:, coming.start : coming.stop], codes, squares)
        lines = slice(coming.start - self._block.start, len(self._block))
        columns = where[:, None].expand_as(fresh)
        self._low[:, lines].scatter_(2, columns, fresh)
        self._least[:, lines].scatter_reduce_(2, columns // _GROUP, fresh, "amin")
        for copy in ((other >= coming.start) & (other < coming.stop)).nonzero().flatten().tolist():
            self._measure(slice(copy, copy + 1), range(int(other[copy]), int(other[copy]) + 1))

    def _measure(self, copies: slice, rows: range) -> None:
        """Take all distances of rows of the block, in some copies; to itself a row's is infinite."""
        codes, squares = self._codes[copies], self._squares[copies]
        lines = slice(rows.start - self._block.start, rows.stop - self._block.start)
        low, least = self._low[copies, lines], self._least[copies, lines]
        self._bounds(codes[:, rows.start : rows.stop], codes, squares, out=low)
        low.diagonal(rows.start, 1, 2).fill_(torch.inf)
        torch.amin(low.unflatten(2, (-1, _GROUP)), 3, out=least)

    def _bounds(self, block: Tensor, codes: Tensor, squares: Tensor, out: Tensor | None = None) -> Tensor:
        """Lower bounds of squared distances between coded rows y of a block and x, without ``(1 + slack) |y|^2``.

        In ``|x|^2 - 2 x.y``, with sums of E terms, the rounding of codes, sums and difference is at most
        ``(E + 4) 2^-24 (|x|^2 + 2 |x| |y|)``, where ``2 |x| |y| <= |x|^2 + |y|^2``.
        """
        return torch.baddbmm(squares.unsqueeze(1) * (1 - self._slack), block, codes.mT, alpha=-2, out=out)

    def _closest(self, index: int, copy: Tensor, near: Tensor) -> Tensor:
        """Of pairs (copy, row near ``index``), the row that is nearest in each copy, and the first of those."""
        found = self._distance.exact(self.rows[copy, near], self.rows[copy, index])
        least = torch.full((len(self._copies),), torch.inf, dtype=found.dtype).scatter_reduce(0, copy, found, "amin")
        kept = found == least[copy]
        first = torch.full_like(self._copies, self.rows.shape[1])
        return first.scatter_reduce(0, copy[kept], near[kept], "amin")
