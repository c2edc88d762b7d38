"""What the processes of a training exchange in every step: gradients, losses, and whether anybody asks to stop."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import reduce
from typing import Protocol

import torch
from torch import Tensor

from kdcli.engine.bank import Bank, Parameters
from kdcli.engine.ranks import Ranks
from kdcli.errors import MachineError, UsageError
from kdcli.losses.own import OwnLoss
from kdcli.objective import LossTerms

FLAG_DELAY = 2
"""Steps after which a GPU's flag is read: by then it has arrived, and nothing waits for it."""


class Exchange(Protocol):
    """A training's steps, over all processes."""

    def backward(self, bank: Bank, logits: Tensor, terms: LossTerms) -> LossTerms:
        """Give the parameters the gradients of the whole batch's loss, and return the terms of the whole batch."""

    def agree(self, wish: bool) -> bool:
        """Whether all processes are to stop here; that some wish to may take a few steps to get around."""

    def check_alike(self, bank: Bank) -> None:
        """See that the networks of all processes are the same to the bit.

        Raises:
            MachineError: They are not.
        """


class NoExchange:
    """See Exchange: of a process that is alone."""

    def backward(self, bank: Bank, logits: Tensor, terms: LossTerms) -> LossTerms:
        """See Exchange."""
        bank.backward(logits, terms.gradient)
        return terms

    def agree(self, wish: bool) -> bool:
        """See Exchange."""
        return wish

    def check_alike(self, bank: Bank) -> None:
        """See Exchange."""


class GroupExchange:
    """See Exchange: everything goes into one buffer, which is added up once a step.

    Args:
        ranks: The processes.
        parameters: Of the networks that train.
        size: Number of networks.
    """

    def __init__(self, ranks: Ranks, parameters: Sequence[Parameters], size: int) -> None:
        self._ranks = ranks
        self._leaves = [leaf for each in parameters for leaf in each.tensors]
        device, dtype = self._leaves[0].device, reduce(torch.promote_types, [leaf.dtype for leaf in self._leaves])
        lengths = [*(leaf.numel() for leaf in self._leaves), 3 * size, 1]
        self._buffer = torch.zeros(sum(lengths), device=device, dtype=dtype)
        *gradients, terms, self._flag = self._buffer.split(lengths)
        self._gradients = [part.view_as(leaf) for part, leaf in zip(gradients, self._leaves, strict=True)]
        self._terms = terms.view(3, size)
        self._wish = False
        self._flags: deque[tuple[Tensor, torch.Event]] = deque()

    def backward(self, bank: Bank, logits: Tensor, terms: LossTerms) -> LossTerms:
        """See Exchange."""
        weight = self._ranks.rows.weight
        bank.backward(logits, terms.gradient * weight)
        named = (terms.total, terms.hard, terms.soft)
        for place, term in zip(self._terms, named, strict=True):
            if term is not None:
                torch.mul(term.detach(), weight, out=place)
        self._sum(self._own_gradients())
        total, hard, soft = (None if term is None else place for place, term in zip(self._terms, named, strict=True))
        assert total is not None
        return LossTerms(total, hard, soft, terms.gradient)

    def _own_gradients(self) -> list[Tensor]:
        """The parameters' gradients, which may lie in memory in any order; zeros where there is none."""
        for leaf in self._leaves:
            if leaf.grad is None:
                leaf.grad = torch.zeros_like(leaf)
        return [leaf.grad for leaf in self._leaves if leaf.grad is not None]

    def _sum(self, own: list[Tensor]) -> None:
        torch._foreach_copy_(self._gradients, own)
        self._flag.fill_(float(self._wish))
        self._ranks.sum(self._buffer)
        torch._foreach_copy_(own, self._gradients)

    def agree(self, wish: bool) -> bool:
        """See Exchange."""
        self._wish = wish
        if self._buffer.is_cpu:
            return bool(self._flag)
        host = torch.empty(1, dtype=self._flag.dtype, pin_memory=True).copy_(self._flag, non_blocking=True)
        arrived = torch.Event(self._buffer.device)
        arrived.record()
        self._flags.append((host, arrived))
        if len(self._flags) <= FLAG_DELAY:
            return False
        host, arrived = self._flags.popleft()
        arrived.synchronize()
        return bool(host)

    def check_alike(self, bank: Bank) -> None:
        """See Exchange."""
        sums = torch.zeros(self._ranks.size, dtype=torch.int64)
        sums[self._ranks.rank] = _checksum([tensor for k in range(bank.size) for tensor in bank.state(k).values()])
        if len(set(self._ranks.sum(sums).tolist())) > 1:
            raise MachineError(
                "the processes of this training no longer hold the same weights",
                where="torchrun",
                fix="use GPUs of one kind and the same versions in all processes, or train in one process",
            )


def _checksum(tensors: Sequence[Tensor]) -> int:
    """Differs, but for rare coincidences, where any bit does; integers add up to the same in any order."""
    flat = [tensor.detach().contiguous().flatten() for tensor in tensors]
    whole = [each.view(torch.int32 if each.element_size() % 4 == 0 else torch.uint8) for each in flat]
    return int(torch.stack([each.sum(dtype=torch.int64) for each in whole]).sum())


def make_exchange(ranks: Ranks, bank: Bank, soft_loss: str | OwnLoss | None = None) -> Exchange:
    """The exchange for a training of these processes.

    Raises:
        UsageError: The loss of a part of a batch says nothing of that of the whole.
    """
    if ranks.size == 1:
        return NoExchange()
    if soft_loss == "cwtm":
        what = "loss=cwtm weighs the examples of a whole batch against each other, and each process has a part of it"
        raise UsageError(what, where="loss", fix="train in one process, or use loss=kd")
    return GroupExchange(ranks, bank.parameters(), bank.size)
