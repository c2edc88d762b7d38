"""Weights and activations as 8-bit integers, with ranges taken from training examples."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from kdcli.portable.network import silenced
from kdcli.schema.portable import INPUT

CALIBRATION_EXAMPLES = 512
_BATCH = 64
_LAYERS = ["Conv", "Gemm", "MatMul"]


def quantised(model: Any, examples: Tensor) -> Any:
    """A model whose convolutions and matrix products compute with int8: static, one scale for each output channel.

    Args:
        model: An ONNX model in float32.
        examples: Raw training examples ``(N, ...)``, from whose activations the ranges are taken.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, silenced():
        plain, prepared, written = (Path(folder, f"{name}.onnx") for name in ("float", "prepared", "int8"))
        onnx.save(model, plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)  # which stumbles over logsumexp
        quantize_static(
            prepared,
            written,
            _reader(examples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_LAYERS,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(written, load_external_data=False)


def _reader(examples: Tensor) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    batches: Iterator[Tensor] = iter(examples.cpu().split(_BATCH))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            batch = next(batches, None)
            return None if batch is None else {INPUT: batch.numpy()}

    return Reader()
