"""What ``kd export`` writes, read by other programs than kd: ONNX Runtime, onnx and torch.export alone."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from kdcli.__main__ import main
from kdcli.data.mnist import mnist
from kdcli.data.normalize import Normalization
from kdcli.errors import MachineError, UsageError
from kdcli.losses import EnsembleMean, combine_members
from kdcli.models import build_model
from kdcli.portable.network import Portable, as_program
from kdcli.portable.quantise import quantised
from kdcli.portable.written import onnx_model
from kdcli.program.export import Plan, Wish, _check
from kdcli.program.subjects import load_exams, load_subjects
from kdcli.rundir import RunDir

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def session(data: bytes) -> Any:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def by_hand(run: RunDir, pixels: Any) -> Any:
    """The run's logits in float64, from its files."""
    store = run.path / "checkpoints"
    step = store / json.loads((store / "best.json").read_text())["dir"]
    weights = {name: tensor.astype(np.float64) for name, tensor in load_file(step / "model.safetensors").items()}
    card = json.loads((step / "state.json").read_text())["state"]["card"]
    values = (pixels.reshape(len(pixels), -1) / 255 - card["mean"][0]) / card["std"][0]
    for layer in range(2):
        values = np.maximum(values @ weights[f"hidden.{layer}.weight"].T + weights[f"hidden.{layer}.bias"], 0)
    return values @ weights["output.weight"].T + weights["output.bias"]


def test_onnx_says_of_raw_pixels_what_the_run_s_files_say(tiny_teacher: RunDir, onnx_file: Path) -> None:
    network = session(onnx_file.read_bytes())
    for batch in (1, 7):
        pixels = mnist().test.inputs[:batch].numpy()
        (logits,) = network.run(None, {"raw": pixels})
        np.testing.assert_allclose(logits, by_hand(tiny_teacher, pixels), rtol=1e-4, atol=1e-4)
    (value,) = network.get_inputs()
    assert (value.type, value.shape) == ("tensor(uint8)", ["batch", 1, 28, 28])


def test_the_metadata_and_the_json_beside_it_say_the_same(
    tiny_student: RunDir, onnx_file: Path, tiny_teacher: RunDir
) -> None:
    told = json.loads(onnx_file.with_name("model.onnx.json").read_text())
    inside = json.loads(session(onnx_file.read_bytes()).get_modelmeta().custom_metadata_map["kd"])
    assert told["card"] == inside
    assert inside["classes"] == [str(digit) for digit in range(10)]
    assert inside["input"] == {
        "name": "raw", "dtype": "uint8", "shape": [1, 28, 28], "layout": "NCHW", "meaning": "pixels from 0 to 255",
    }  # fmt: skip
    assert inside["run"] == tiny_teacher.record.id
    assert inside["run_sha256"] == tiny_student.summary()["teacher"]["sha256"]
    assert told["sha256"] == hashlib.sha256(onnx_file.read_bytes()).hexdigest()
    assert told["check"]["top1_run"] == tiny_teacher.summary()["test"]["top1"] == told["check"]["top1_file"]
    assert told["check"]["agreement"] == 1


def test_a_program_of_torch_holds_no_pickle_and_says_the_same(
    tiny_teacher: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.pt2"
    assert main(["export", str(tiny_teacher.path), "format=torch", f"file={path}", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "model.pt2.json").read_text())
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert not [name for name, data in parts.items() if data[:1] == b"\x80" or data[:4] == b"PK\x03\x04"]
    pixels = mnist().test.inputs[:5]
    logits = torch.export.load(io.BytesIO(path.read_bytes())).module()(pixels)
    np.testing.assert_allclose(logits, by_hand(tiny_teacher, pixels.numpy()), rtol=1e-4, atol=1e-4)


def test_int8_is_smaller_and_nearly_the_same(
    tiny_teacher: RunDir, onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    assert main(["export", str(tiny_teacher.path), "int8=true", f"file={path}", "--quiet", "--smoke"]) == 0
    said = capsys.readouterr().out
    assert "int8" in said
    assert "of at most 512 test examples" in said
    told = json.loads((tmp_path / "model.onnx.json").read_text())
    assert path.stat().st_size < 0.5 * onnx_file.stat().st_size
    assert told["check"]["agreement"] > 0.9
    assert told["check"]["largest_difference"] > 0
    assert told["card"]["precision"] == "int8"


NETS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "lenet": ((1, 28, 28), {}),
    "cnn": ((3, 16, 16), {"channels": [4, 8]}),
    "resnet_cifar": ((3, 16, 16), {"depth": 8}),
    "wrn": ((3, 16, 16), {"depth": 10, "widen": 1}),
    "torchvision": ((3, 64, 64), {"architecture": "shufflenet_v2_x0_5", "pretrained": False}),
    "mlp": ((5,), {"hidden": [6], "batch_norm": True, "dropout": 0.5}),
}
SLOW = ("resnet_cifar", "wrn", "torchvision")


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in SLOW)) for kind in NETS])
def test_every_kind_of_network_comes_out_as_it_is(kind: str) -> None:
    shape, options = NETS[kind]
    net = build_model(kind, shape, 4, options, seed=1).eval()
    images = len(shape) == 3
    numbers = Normalization((0.4,) * shape[0], (0.2,) * shape[0])
    draw = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (5, *shape), dtype=torch.uint8, generator=draw)
    raw = raw if images else raw.float()
    model = onnx_model(
        as_program(Portable([net], [numbers], "arithmetic", images=images).eval(), shape, "here"), "here"
    )
    (found,) = session(model.SerializeToString()).run(None, {"raw": raw.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), net(numbers(raw)).detach(), rtol=1e-4, atol=1e-4)
    if kind == "cnn":
        (rounded,) = session(quantised(model, raw).SerializeToString()).run(None, {"raw": raw.numpy()})
        assert np.abs(rounded - found).max() < 0.1 * np.abs(found).max()


@pytest.mark.parametrize("how", ["arithmetic", "geometric"])
def test_members_become_one_graph_with_the_mean_of_their_distributions(how: EnsembleMean) -> None:
    nets = [nn.Linear(3, 4) for _ in range(3)]
    numbers = [Normalization((float(k),) * 3, (1.0 + k,) * 3) for k in range(3)]
    raw = torch.randn(6, 3)
    portable = Portable(nets, numbers, how, images=False).eval()
    probs = torch.stack([net((raw - k) / (1 + k)).softmax(-1) for k, net in enumerate(nets)])
    mean = probs.mean(0) if how == "arithmetic" else probs.log().mean(0).softmax(-1)
    torch.testing.assert_close(as_program(portable, (3,), "here").module()(raw).softmax(-1), mean)
    said = torch.stack([net((raw - k) / (1 + k)) for k, net in enumerate(nets)])
    torch.testing.assert_close(portable(raw), combine_members(said, 1.0, how))


def test_a_network_that_a_graph_cannot_hold_is_refused() -> None:
    class Moody(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs if inputs.sum() > 0 else -inputs

    portable = Portable([Moody()], [Normalization((0.0,), (1.0,))], "arithmetic", images=False)
    with pytest.raises(UsageError, match="cannot be exported"):
        as_program(portable, (1,), "here")


def test_a_file_that_says_something_else_than_the_run_is_refused(tiny_teacher: RunDir, configure: Any) -> None:
    config = configure("evaluate", f"run={tiny_teacher.path}", "device=cpu")
    (subject,) = load_subjects(config, [tiny_teacher], torch.device("cpu"), print)
    (exam,) = load_exams([subject], torch.device("cpu"), smoke=True)
    plan = Plan(Wish("onnx", False, None), subject, exam, Path("model.onnx"))  # type: ignore[arg-type]
    assert _check(plan, subject.logits, float_file=True).largest_difference == 0
    with pytest.raises(MachineError, match="nothing was written"):
        _check(plan, lambda raw: subject.logits(raw).roll(1, dims=1), float_file=True)
    assert _check(plan, lambda raw: subject.logits(raw).roll(1, dims=1), float_file=False).agreement < 0.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "export takes one RUN"),
        (["{run}", "formt=onnx"], "did you mean 'format'"),
        (["{run}", "format=tflite"], "one of: onnx, torch"),
        (["{run}", "int8=true", "format=torch"], "int8=true is for format=onnx"),
        (["{run}", "file=digits.pt2"], "called like another format"),
        (["{run}", "file=digits.onnx", "format=torch"], "called like another format"),
        (["nowhere"], "there is no run 'nowhere'"),
    ],
)
def test_slips_are_refused(
    tiny_teacher: RunDir, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *(word.format(run=tiny_teacher.path) for word in words)]) == 2
    assert said in capsys.readouterr().err


def test_a_dry_run_writes_nothing(tiny_teacher: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tiny_teacher.path), f"file={tmp_path}/x.onnx", "--dry-run"]) == 0
    assert "would write" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
