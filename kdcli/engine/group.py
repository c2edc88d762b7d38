"""Several processes that train together, over torch.distributed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store

from kdcli.engine.ranks import PeerLostError, Rows

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)
"""How long a process waits for another one that is silent but not gone."""


class Group:
    """See Ranks. On GPUs gradients travel by NCCL; what is on the CPU travels by gloo."""

    def __init__(self, rank: int, size: int, local_rank: int) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank
        self.rows = Rows(0, 0, 1)

    def open(self, store: Store, device: torch.device) -> None:
        """Connect the processes, where they are not yet; returns when all of them have come here.

        Args:
            store: Where they meet.
            device: Where this one computes.
        """
        if self.is_open:
            return
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        with answering():
            dist.init_process_group(
                backend, store=PrefixStore("group", store), rank=self.rank, world_size=self.size, timeout=PATIENCE
            )

    @property
    def is_open(self) -> bool:
        """Whether the processes are connected."""
        return dist.is_initialized()

    def close(self, *, in_step: bool) -> None:
        """Disconnect: those that still wait for this process get a PeerLostError.

        Args:
            in_step: All processes do so. NCCL would wait for them otherwise, and is left to the end of the process.
        """
        if self.is_open and (in_step or dist.get_backend() == "gloo"):
            dist.destroy_process_group()

    def begin(self, batch_size: int) -> None:
        """See Ranks."""
        self.rows = Rows.of(batch_size, self.rank, self.size)

    def own(self, batch: Tensor) -> Tensor:
        """See Ranks."""
        return batch[Rows.of(len(batch), self.rank, self.size).held]

    def sum(self, tensor: Tensor) -> Tensor:
        """See Ranks."""
        with answering():
            dist.all_reduce(tensor)
        return tensor

    def tell(self, value: T) -> T:
        """See Ranks."""
        said = bytearray(json.dumps(value).encode()) if self.rank == 0 else bytearray()
        length = torch.tensor([len(said)])
        self.share([length])
        heard = torch.empty(int(length), dtype=torch.uint8)
        if said:
            heard = torch.frombuffer(said, dtype=torch.uint8)
        self.share([heard])
        result: T = json.loads(heard.numpy().tobytes())
        return result

    def share(self, tensors: Sequence[Tensor]) -> None:
        """See Ranks."""
        with answering():
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def spread(self, indices: Tensor, ask: Callable[[Tensor], Tensor]) -> Tensor:
        """See Ranks."""
        rows = Rows.of(len(indices), self.rank, self.size)
        own = ask(indices[rows.held])
        whole = own.new_zeros(len(own), len(indices), *own.shape[2:])
        whole[:, rows.first : rows.first + rows.count] = own[:, : rows.count]
        return self.sum(whole)


@contextmanager
def answering() -> Iterator[None]:
    """Say of a failed exchange what it means: torch raises RuntimeErrors that name its sources and sockets."""
    try:
        yield
    except RuntimeError as failure:
        reason = re.sub(r"^\[[^]]*\]\s*", "", str(failure)).partition(". ")[0].splitlines()[0]
        raise PeerLostError(
            f"another process of this training is gone, or does not answer: {reason[:200]}",
            fix="look for what ended it (memory, a signal), and go on: kd resume, under torchrun or not",
        ) from failure
