"""A process that tries an ONNX file of unknown origin, so that nothing it does can harm the one that asks.

``python -m kdcli.portable.probe WHERE`` reads the file from its standard input, checks it, and carries it out once on
zeros, within a limit of memory. Exit code 0: it is what it says; else its standard output says why not.
"""

from __future__ import annotations

import subprocess
import sys

from kdcli.errors import CheckpointError
from kdcli.memory import limited_memory
from kdcli.portable.session import Session
from kdcli.portable.structure import FIX, card_of, parse_model

SECONDS = 60.0
SPARE = 3 * 2**29
_SHOWN = 500
_BATCH = 2


def probe(data: bytes, where: str, seconds: float = SECONDS) -> None:
    """Try an ONNX file in a process of its own.

    Args:
        data: Its content.
        where: Its path, for the error.
        seconds: How long it may take.

    Raises:
        CheckpointError: It is not what kd exports, or it takes too much memory or time, or it crashes ONNX Runtime.
    """
    # -P: what lies in the current directory must not take the place of a module.
    command = [sys.executable, "-P", "-m", "kdcli.portable.probe", where]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as problem:
        raise CheckpointError(f"it took more than {seconds:g} s to answer once", where=where, fix=FIX) from problem
    if done.returncode != 0:
        said = done.stdout.decode("utf-8", "replace").strip()[:_SHOWN]
        raise CheckpointError(said or "it crashes ONNX Runtime, or takes too much memory", where=where, fix=FIX)


def allowance(size: int) -> int:
    """How much memory a file of ``size`` bytes may take to be read and carried out."""
    return SPARE + 8 * size


def _main() -> int:
    import numpy as np
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401

    where, data = sys.argv[1], sys.stdin.buffer.read()
    try:
        with limited_memory(allowance(len(data))):
            model = parse_model(data, where)
            card = card_of(model, where)
            del model
            session = Session(data, threads=1)
            answer = session(np.zeros((_BATCH, *card.input.shape), dtype=card.input.dtype))
    except CheckpointError as problem:
        sys.stdout.write(problem.what)
        return 1
    except Exception as problem:
        lines = ascii(str(problem))[1:-1] or "out of memory"
        sys.stdout.write(f"ONNX Runtime does not take it: {type(problem).__name__}: {lines[:300]}")
        return 1
    if answer.shape != (_BATCH, len(card.classes)) or answer.dtype != np.float32:
        sys.stdout.write(f"its answers are {answer.dtype} of shape {answer.shape}, not of {len(card.classes)} classes")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
