"""Exported ONNX files, read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdcli.disk import read_bounded
from kdcli.errors import CheckpointError
from kdcli.extras import need
from kdcli.memory import limited_memory
from kdcli.portable.probe import allowance, probe
from kdcli.portable.session import Session
from kdcli.portable.structure import FIX, card_of, parse_model
from kdcli.schema.portable import PortableCard

MAX_BYTES = 2**31 - 1


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """A network in an ONNX file, on the CPU."""

    path: Path
    card: PortableCard
    size: int
    session: Session

    def logits(self, raw: Tensor) -> Tensor:
        """What it says of raw inputs ``(N, ...)``: logits ``(N, C)``, float32 on the CPU.

        Raises:
            CheckpointError: It cannot be carried out on them.
        """
        return run_session(self.session, raw, len(self.card.classes), str(self.path))


def run_session(session: Session, raw: Tensor, classes: int, where: str) -> Tensor:
    """Logits of a batch, whatever device it is on.

    Raises:
        CheckpointError: The network fails, or answers in another shape.
    """
    try:
        answer = session(raw.cpu().numpy())
    except Exception as problem:  # of ONNX Runtime's own types
        raise CheckpointError(f"ONNX Runtime failed: {ascii(str(problem))[:300]}", where=where, fix=FIX) from problem
    if answer.shape != (len(raw), classes) or answer.dtype != np.float32:
        what = f"its answers have shape {answer.shape}, not {(len(raw), classes)}"
        raise CheckpointError(what, where=where, fix=FIX)
    return torch.from_numpy(answer)


def read_onnx(path: Path) -> OnnxNetwork:
    """The network in a file of ``kd export``, tried in another process first.

    Raises:
        CheckpointError: It is not what kd exports; nothing of it has run in this process.
        MachineError: The extra ``onnx`` is not installed.
    """
    need("an ONNX file", "onnx", "onnx", "onnxruntime")
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401

    where = str(path)
    data = read_bounded(path, MAX_BYTES, error=CheckpointError, follow=True)
    probe(data, where)
    with limited_memory(allowance(len(data))):
        card = card_of(parse_model(data, where), where)
        session = Session(data, torch.get_num_threads())
    return OnnxNetwork(path, card, len(data), session)
