"""What an ONNX file must look like before anything carries it out. Without torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kdcli.errors import CheckpointError
from kdcli.json_io import parse_json
from kdcli.schema import convert
from kdcli.schema.portable import PortableCard

CARD = "kd"
MAX_CARD = 8 * 2**20
MAX_MESSAGES = 2_000_000
FIX = "use a file that kd export wrote, whole"


def parse_model(data: bytes, where: str) -> Any:
    """The ONNX model that bytes spell.

    Raises:
        CheckpointError: They are no ONNX model, or one that reads other files.
    """
    import onnx

    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as problem:  # protobuf's own, of several types
        raise _refused(f"not an ONNX file: {ascii(str(problem))[:200]}", where) from problem
    if not model.ir_version or not model.graph.node:
        raise _refused("not an ONNX file: there is no network in it", where)
    for number, message in enumerate(_messages(model)):
        if number > MAX_MESSAGES:
            raise _refused(f"more than {MAX_MESSAGES:,} parts", where)
        if message.DESCRIPTOR.name == "TensorProto" and (message.external_data or message.data_location):
            raise _refused(f"its tensor {ascii(message.name)[:80]} is in another file, which is not read", where)
    return model


def _messages(message: Any) -> Iterator[Any]:
    """A message and all inside it."""
    waiting = [message]
    while waiting:
        each = waiting.pop()
        yield each
        for field, value in each.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)


def card_of(model: Any, where: str) -> PortableCard:
    """The card in a model's metadata, which its graph must agree with.

    Raises:
        CheckpointError: There is none, it is not valid, or the graph is another.
    """
    texts = [entry.value for entry in model.metadata_props if entry.key == CARD]
    if len(texts) != 1:
        raise _refused(f"{len(texts)} entries {CARD!r} in its metadata: it was not written by kd export", where)
    place = f"{where}: metadata"
    if len(texts[0]) > MAX_CARD:
        raise _refused(f"metadata of {len(texts[0]):,} characters, over {MAX_CARD:,}", where)
    card = convert(PortableCard, parse_json(texts[0].encode(), where=place), error=CheckpointError, where=place)
    _check_graph(model.graph, card, where)
    return card


def _check_graph(graph: Any, card: PortableCard, where: str) -> None:
    import onnx

    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    wanted = onnx.TensorProto.UINT8 if card.input.dtype == "uint8" else onnx.TensorProto.FLOAT
    described = (
        (inputs, card.input.name, wanted, card.input.shape),
        (list(graph.output), card.output, onnx.TensorProto.FLOAT, [len(card.classes)]),
    )
    for values, name, kind, shape in described:
        found = [(value.name, value.type.tensor_type.elem_type, _shape(value)) for value in values]
        if found != [(name, kind, shape)]:
            shown = ascii([(each, list(size)) for each, _, size in found[:3]])[:200]
            raise _refused(f"its metadata says {name} of shape (N, {_listed(shape)}), its graph {shown}", where)


def _shape(value: Any) -> list[int]:
    """The fixed dimensions behind the batch."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]


def _listed(shape: list[int]) -> str:
    return ", ".join(map(str, shape))


def _refused(what: str, where: str) -> CheckpointError:
    return CheckpointError(what, where=where, fix=FIX)
