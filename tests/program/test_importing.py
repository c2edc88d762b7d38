"""``kd import`` of weights whose results are known: those of a tiny run, as another program would have saved them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kdcli.__main__ import main
from kdcli.errors import UsageError
from kdcli.rundir import RunDir, resolve_run

MLP = ("model=mlp", "model.hidden=[30,30]", "device=cpu", "--quiet")


def of_run(run: RunDir) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A run's selected weights, and its card."""
    store = run.path / "checkpoints"
    step = store / json.loads((store / "best.json").read_text())["dir"]
    return load_file(step / "model.safetensors"), json.loads((step / "state.json").read_text())["state"]["card"]


def numbers(card: dict[str, Any]) -> list[str]:
    return [f"mean={card['mean'][0]!r}", f"std={card['std']!r}"]


def measures(summary: dict[str, Any]) -> dict[str, float]:
    """Those of the test set that a network without a teacher has."""
    return {name: value for name, value in summary["test"].items() if value is not None}


def imported(outputs: Path) -> RunDir:
    (path,) = outputs.glob("import/*")
    return RunDir.open(path)


def test_imported_weights_make_the_errors_of_the_run_they_are_of(
    tiny_teacher: RunDir, tiny_student: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, card = of_run(tiny_teacher)
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}, tmp_path / "t.pt")
    where = f"output_dir={tmp_path}/outputs"
    assert main(["import", str(tmp_path / "t.pt"), *MLP, *numbers(card), "name=theirs", where]) == 0
    run = imported(tmp_path / "outputs")
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == f"next   kd distill-student teacher={run.path}"
    before, after = tiny_teacher.summary(), run.summary()
    assert measures(after) == pytest.approx(measures(before), rel=1e-5)
    assert after["val"]["errors"] == before["val"]["errors"]
    assert (after["parameters"], after["model"], after["epochs"]) == (before["parameters"], "mlp_30", 0)
    assert main(["verify", str(run.path)]) == 0
    assert resolve_run("theirs", root=tmp_path / "outputs", purpose="teacher", smoke=False).path == run.path
    tiny = ["model=mlp_30", "transfer.fraction=0.01", "epochs=1", "device=cpu", "baseline=false", "--progress=none"]
    assert main(["distill-student", "teacher=theirs", *tiny, where, "--quiet"]) == 0
    (student,) = (tmp_path / "outputs").glob("distill-student/*")
    taught = RunDir.open(student).summary()["teacher"]
    assert taught["sha256"] == tiny_student.summary()["teacher"]["sha256"]
    assert taught["test"]["errors"] == before["test"]["errors"]
    with pytest.raises(UsageError, match="there is no finished train-teacher"):
        resolve_run("latest", root=tmp_path / "outputs", purpose="teacher", smoke=False)


def test_outputs_in_another_order_are_sorted(tiny_teacher: RunDir, tmp_path: Path) -> None:
    weights, card = of_run(tiny_teacher)
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    turned = weights | {name: weights[name][order].contiguous() for name in ("output.weight", "output.bias")}
    save_file(turned, tmp_path / "t.safetensors")
    names = "classes=[" + ",".join(f"'{name}'" for name in order) + "]"
    where = f"output_dir={tmp_path}/outputs"
    assert main(["import", str(tmp_path / "t.safetensors"), *MLP, *numbers(card), names, where]) == 0
    found = measures(imported(tmp_path / "outputs").summary())
    assert found == pytest.approx(measures(tiny_teacher.summary()), rel=1e-5)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["mean=0", "std=1", "model=mlp_100"], 4, "do not fit model="),
        (["mean=0", "std=0"], 2, "must be above 0"),
        (["mean=[0.1,0.2]", "std=1"], 2, "mean has 2 numbers"),
        (["mean=some", "std=1"], 2, "mean"),
        (["std=1"], 2, "add mean=0.1307"),
        (["mean=0", "std=1", "classes=[a,b]"], 2, "classes names a, b"),
        (["mean=0", "std=1", "match=shape"], 2, "match"),
        (["mean=0", "std=1", "prefix=x."], 4, "no name begins with 'x.'"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    tiny_teacher: RunDir, tmp_path: Path, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(of_run(tiny_teacher)[0], tmp_path / "t.safetensors")
    model = [] if any(word.startswith("model=") for word in words) else MLP[:2]
    line = ["import", str(tmp_path / "t.safetensors"), *model, *MLP[2:], *words, f"output_dir={tmp_path}/outputs"]
    assert main(line) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("content", [b"nothing", b"\x10" + bytes(7) + b"{not a header", b"PK\x03\x04 no archive"])
def test_a_file_that_holds_no_weights_is_refused_with_what_to_do(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.pt").write_bytes(content)
    assert main(["import", str(tmp_path / "t.pt"), *MLP, "mean=0", "std=1"]) == 4
    assert "   do: save it again with torch.save" in capsys.readouterr().err


def test_a_file_name_may_be_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "a b, 'c' \"d\" [e].pt"
    (tmp_path / name).write_bytes(b"nothing")
    assert main(["import", str(tmp_path / name), *MLP, "mean=0", "std=1"]) == 4
    assert name in capsys.readouterr().err
