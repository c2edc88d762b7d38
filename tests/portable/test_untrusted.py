"""ONNX files from elsewhere: whatever is in them, kd says why it does not take them, and nothing else happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdcli.__main__ import main
from kdcli.errors import CheckpointError
from kdcli.portable.probe import probe
from kdcli.portable.structure import card_of, parse_model
from kdcli.rundir import RunDir

onnx = pytest.importorskip("onnx")


def refusal(data: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        card_of(parse_model(data, "here"), "here")
    return caught.value.what


def altered(path: Path, change: Callable[[Any], object]) -> bytes:
    model = onnx.ModelProto.FromString(path.read_bytes())
    change(model)
    return bytes(model.SerializeToString())


def with_card(path: Path, **change: object) -> bytes:
    def put(model: Any) -> None:
        (entry,) = model.metadata_props
        entry.value = json.dumps(json.loads(entry.value) | change)

    return altered(path, put)


def test_the_file_itself_is_taken(onnx_file: Path) -> None:
    assert card_of(parse_model(onnx_file.read_bytes(), "here"), "here").dataset == "mnist"
    probe(onnx_file.read_bytes(), "here")


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"{}", b"PK\x03\x04rest", b"\x80\x02}.", bytes(range(256)) * 9])
def test_garbage_is_refused(data: bytes) -> None:
    assert "not an ONNX file" in refusal(data)


def test_no_beginning_of_a_file_is_taken_for_a_whole_one(onnx_file: Path) -> None:
    data = onnx_file.read_bytes()
    for length in range(0, len(data), len(data) // 200):
        with pytest.raises(CheckpointError):
            card_of(parse_model(data[:length], "here"), "here")


def test_weights_in_another_file_are_not_read(onnx_file: Path) -> None:
    def outside(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")

    assert "is in another file" in refusal(altered(onnx_file, outside))

    def hidden(model: Any) -> None:
        attribute = model.graph.node[0].attribute.add(name="x", type=onnx.AttributeProto.TENSOR)
        attribute.t.external_data.add(key="location", value="../x")

    assert "is in another file" in refusal(altered(onnx_file, hidden))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"schema": 2}, "schema"),
        ({"classes": ["a"]}, "its graph"),
        ({"classes": "abc"}, "is not a list"),
        ({"run_sha256": "../../x"}, "run_sha256"),
        ({"parameters": 1e400}, "not valid JSON"),
    ],
)
def test_metadata_passes_the_strict_door(onnx_file: Path, change: dict[str, object], said: str) -> None:
    assert said in refusal(with_card(onnx_file, **change))


def test_metadata_must_be_there_once_and_agree_with_the_graph(onnx_file: Path) -> None:
    assert "0 entries" in refusal(altered(onnx_file, lambda model: model.metadata_props.pop()))
    twice = altered(onnx_file, lambda model: model.metadata_props.add(key="kd", value="{}"))
    assert "2 entries" in refusal(twice)
    shape = json.loads(onnx.ModelProto.FromString(onnx_file.read_bytes()).metadata_props[0].value)["input"]
    assert "its graph" in refusal(with_card(onnx_file, input=shape | {"shape": [1, 28, 27]}))


def grown(path: Path, *nodes: Any) -> bytes:
    """The network, with further nodes whose last output takes the place of the logits."""

    def change(model: Any) -> None:
        model.graph.node[-1].output[0] = "before"
        model.graph.node.extend(nodes)

    return altered(path, change)


def test_a_network_that_would_fill_the_memory_is_refused(onnx_file: Path) -> None:
    size = onnx.helper.make_tensor("huge", onnx.TensorProto.INT64, [1], [2**32])  # 16 GiB of zeros
    bomb = grown(
        onnx_file,
        onnx.helper.make_node("Constant", [], ["size"], value=size),
        onnx.helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        onnx.helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        onnx.helper.make_node("Add", ["before", "sum"], ["logits"]),
    )
    with pytest.raises(CheckpointError):
        probe(bomb, "here")


def test_a_network_that_never_answers_is_refused(onnx_file: Path) -> None:
    true = onnx.helper.make_tensor("true", onnx.TensorProto.BOOL, [], [True])
    turns = onnx.helper.make_tensor("turns", onnx.TensorProto.INT64, [], [2**62])
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["on"], ["still"]), onnx.helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            onnx.helper.make_tensor_value_info("turn", onnx.TensorProto.INT64, []),
            onnx.helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, []),
            onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None),
        ],
        [
            onnx.helper.make_tensor_value_info("still", onnx.TensorProto.BOOL, []),
            onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None),
        ],
    )
    endless = grown(
        onnx_file,
        onnx.helper.make_node("Constant", [], ["true"], value=true),
        onnx.helper.make_node("Constant", [], ["turns"], value=turns),
        onnx.helper.make_node("Loop", ["turns", "true", "before"], ["logits"], body=body),
    )
    with pytest.raises(CheckpointError, match="more than 3 s"):
        probe(endless, "here", seconds=3.0)


def test_evaluate_measures_a_file_as_its_run(
    tiny_teacher: RunDir, onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["latency=false", "device=cpu", f"output_dir={tmp_path}", "--smoke", "--quiet", "--json"]
    assert main(["evaluate", f"run=[{tiny_teacher.path},{onnx_file}]", *options]) == 0
    run, file = json.loads(capsys.readouterr().out)["runs"]
    assert (file["test"]["errors"], file["train"]["errors"]) == (run["test"]["errors"], run["train"]["errors"])
    assert file["test"]["nll"] == pytest.approx(run["test"]["nll"], rel=1e-5)
    assert (file["model"], file["macs"], file["parameters"]) == ("mlp_30 (onnx)", None, run["parameters"])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run={file}"], 2, "add dataset="),
        (["run={file}", "dataset=letter"], 3, "was trained on mnist"),
        (["run={run}", "dataset=mnist"], 2, "is for exported files"),
        (["run=nowhere.onnx", "dataset=mnist"], 2, "there is no file"),
        (["run={garbage}", "dataset=mnist"], 4, "not an ONNX file"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    tiny_teacher: RunDir, onnx_file: Path, tmp_path: Path, words: list[str], code: int, said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"no network at all")
    named = {"run": tiny_teacher.path, "file": onnx_file, "garbage": garbage}
    assert main(["evaluate", *(word.format(**named) for word in words), "device=cpu", "--quiet"]) == code
    assert said in capsys.readouterr().err
