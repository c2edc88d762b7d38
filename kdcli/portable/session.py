"""ONNX Runtime on the CPU. Without torch, so that a process that only probes a file starts soon."""

from __future__ import annotations

from typing import Any

import numpy as np

SILENT = 4


class Session:
    """A network that ONNX Runtime carries out.

    Args:
        data: The content of an ONNX file.
        threads: How many it may use.

    Raises:
        Exception: ONNX Runtime's own, of many types, where it does not take the file.
    """

    def __init__(self, data: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = SILENT
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The first output for a batch."""
        answer: np.ndarray[Any, Any] = self._session.run(None, {self._input: raw})[0]
        return answer
