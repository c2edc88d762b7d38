"""Where a training computes."""

from __future__ import annotations

import torch

from kdcli.engine.ranks import Ranks, current
from kdcli.errors import MachineError, UsageError

# The moments of weights behind dead units shrink for ever, and a CPU takes ten times as long over numbers below 1e-38:
# an epoch of Adam slowed to a third within four. torch's other threads have this from the thread that makes them, at
# the first operation that wants them: so it is said when this module is imported, before anything is computed.
torch.set_flush_denormal(True)


def pick_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` means here.

    Of several processes, each has the GPU of its own number on its machine.

    Raises:
        MachineError: If it is not there.
        UsageError: If several processes cannot share it.
    """
    if current().size > 1:
        return _own_device(name, current())
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, available in there.items() if available))
    device = torch.device(name)
    if not there[device.type] or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise MachineError(f"device={name} is not available here", where="device", fix="use device=auto or device=cpu")
    return device


def _own_device(name: str, ranks: Ranks) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"device={name} is one device, for {ranks.size} processes",
            where="device",
            fix="use device=cuda or device=cpu",
        )
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    found = torch.cuda.device_count()
    if ranks.local_rank >= found:
        raise MachineError(
            f"there is no GPU for process {ranks.local_rank} of this machine, which has {found}",
            where="device",
            fix=f"torchrun --nproc-per-node={found}, or device=cpu" if found else "use device=auto or device=cpu",
        )
    device = torch.device("cuda", ranks.local_rank)
    torch.cuda.set_device(device)
    return device
