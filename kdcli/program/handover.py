"""Every process of a training put where the first one stands: after a resume, and at the start."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from kdcli.engine.fit import Fit, FitState
from kdcli.engine.ranks import Ranks


def hand_over(fit: Fit, ranks: Ranks) -> None:
    """Give the weights and the whole state of the first process's training to those of the others."""
    tensors = {kind: {name: _on_cpu(tensor) for name, tensor in table.items()} for kind, table in fit.tensors().items()}
    forms = {kind: {name: _form(tensor) for name, tensor in table.items()} for kind, table in tensors.items()}
    said: dict[str, Any] = ranks.tell({"state": fit.state(), "forms": forms})
    if ranks.rank != 0:
        tensors = {
            kind: {name: torch.empty(shape, dtype=getattr(torch, dtype)) for name, (dtype, shape) in table.items()}
            for kind, table in said["forms"].items()
        }
    ranks.share([tensor for table in tensors.values() for tensor in table.values()])
    if ranks.rank != 0:
        fit.load(tensors, TypeAdapter(FitState).validate_python(said["state"]))


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _form(tensor: Tensor) -> Any:
    return str(tensor.dtype).removeprefix("torch."), list(tensor.shape)
