"""The bytes of an exported network, its card inside."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any

import torch
from torch.export import ExportedProgram

from kdcli.errors import UsageError, first_line
from kdcli.extras import need
from kdcli.json_io import encode_json
from kdcli.portable.network import silenced
from kdcli.schema.portable import INPUT, OUTPUT, PortableCard

OPSET = 20
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
CARD = "kd"
TORCH_CARD = "kd.json"
MAX_BYTES = 2**31 - 1  # of a protobuf message


def card_json(card: PortableCard) -> str:
    """The card in one line."""
    return encode_json(card.model_dump(by_alias=True), indent=None).decode().strip()


def torch_bytes(program: ExportedProgram, card: PortableCard) -> bytes:
    """A ``.pt2`` archive: weights as plain bytes, graph and card as JSON, no pickle."""
    buffer = io.BytesIO()
    with silenced():
        torch.export.save(program, buffer, extra_files={TORCH_CARD: card_json(card)})
    return buffer.getvalue()


def onnx_model(program: ExportedProgram, where: str) -> Any:
    """The program as an ONNX model, all of whose weights are inside.

    Raises:
        MachineError: The extra ``onnx`` is not installed.
        UsageError: An operator of the network has no form in ONNX.
    """
    need("format=onnx", "onnx", *PACKAGES)
    try:
        with silenced(), redirect_stdout(io.StringIO()):
            exported = torch.onnx.export(
                program, (), input_names=[INPUT], output_names=[OUTPUT], dynamo=True, opset_version=OPSET,
                external_data=False, verbose=False,
            )  # fmt: skip
    except Exception as error:
        raise UsageError(
            f"the network cannot be written as ONNX: {first_line(error)}"[:500],
            where=where,
            fix="export it with format=torch",
        ) from error
    assert exported is not None
    model = exported.model_proto
    _name_batch(model.graph)
    return model


def onnx_bytes(model: Any, card: PortableCard) -> bytes:
    """The file of an ONNX model with its card.

    Raises:
        UsageError: It is larger than such a file can be.
    """
    del model.metadata_props[:]
    model.metadata_props.add(key=CARD, value=card_json(card))
    model.producer_name, model.producer_version = "kd", card.kd
    size = model.ByteSize()
    if size > MAX_BYTES:
        raise UsageError(
            f"the network has {size:,} bytes, and an ONNX file in one piece holds {MAX_BYTES:,}",
            where="format=onnx",
            fix="export it with format=torch",
        )
    data: bytes = model.SerializeToString()
    return data


def _name_batch(graph: Any) -> None:
    """Call the free dimension ``batch`` instead of what the exporter numbered it."""
    (symbol,) = {dim.dim_param for dim in graph.input[0].type.tensor_type.shape.dim if dim.dim_param}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == symbol:
                dim.dim_param = "batch"
