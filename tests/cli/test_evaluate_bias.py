"""``kd evaluate bias.classes=[...]``: one number on the logits of some classes, found in three ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcli.__main__ import main
from kdcli.data.mnist import mnist
from kdcli.data.split import split_validation
from tests.program import reference


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has never seen a 3, of a teacher that has."""
    root = tmp_path_factory.mktemp("omitted")
    small = ["model=mlp", "model.hidden=[40]", "transfer.fraction=0.1", "batch_size=32", "device=cpu"]
    common = [*small, f"output_dir={root}", "--quiet"]
    assert main(["train-teacher", "epochs=4", *common]) == 0
    taught = ["teacher=latest", "transfer.omit=[3]", "temperature=8", "alpha=1", "baseline=false", "epochs=8"]
    assert main(["distill-student", *taught, *common]) == 0
    (path,) = (root / "distill-student").iterdir()
    return path


def evaluated(student: Path, capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    words = ["evaluate", f"run={student}", "latency=false", "device=cpu", f"output_dir={student.parents[1]}", *more]
    capsys.readouterr()
    assert main([*words, "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)["runs"][0]["bias"]


def errors(log_probs: Any, labels: Any, offset: float) -> tuple[int, int]:
    moved = log_probs + offset * np.eye(10)[3]
    wrong = moved.argmax(1) != labels
    return int(wrong.sum()), int((wrong & (labels == 3)).sum())


def test_each_way_is_what_a_search_of_its_own_finds(student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(student, capsys, "bias.classes=[3]")
    log_probs, labels = np.log(reference.probabilities(student)), reference.test_set()[1]
    for way in ("uncorrected", "test", "val", "prior"):
        one = found[way]
        assert (one["errors"], one["errors_among"]) == pytest.approx(errors(log_probs, labels, one["offset"]), abs=1)
        assert one["n_among"] == 1010
    assert found["uncorrected"]["offset"] == 0
    assert found["uncorrected"]["errors_among"] > 100
    fewest = min(errors(log_probs, labels, step / 10)[0] for step in range(0, 200))
    assert found["test"]["errors"] <= fewest
    assert found["test"]["errors"] <= min(found[way]["errors"] for way in ("uncorrected", "val", "prior"))
    assert found["val"]["errors"] < found["uncorrected"]["errors"]


def test_the_prior_is_met_on_validation_inputs(student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(student, capsys, "bias.classes=[3]")["prior"]["offset"]
    split = mnist().train
    train, val = split_validation(split.labels, 0.1, 0)
    seen = np.log(reference.probabilities(student, images=split.inputs[val].flatten(1).double().numpy()))
    raised = np.exp(seen + found * np.eye(10)[3])
    share = float((split.labels[train] == 3).double().mean())
    assert (raised[:, 3] / raised.sum(1)).mean() == pytest.approx(share, abs=1e-6)


def test_several_runs_and_no_classes(student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluated(student, capsys) is None
    words = ["evaluate", f"run={student}", "latency=false", "device=cpu", f"output_dir={student.parents[1]}"]
    assert main([*words, "bias.classes=[3,5]", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "errors, bias of 3, 5 tuned on test (not honest)" in said
    assert "errors, bias of 3, 5 matched to the prior" in said


@pytest.mark.parametrize("classes", ["[10]", "[0,1,2,3,4,5,6,7,8,9]", "[-1]"])
def test_classes_that_are_not_there_are_refused(
    student: Path, classes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted((student.parents[1]).glob("evaluate/*"))
    words = ["evaluate", f"run={student}", "device=cpu", f"output_dir={student.parents[1]}"]
    assert main([*words, f"bias.classes={classes}"]) == 2
    assert "bias.classes" in capsys.readouterr().err
    assert sorted((student.parents[1]).glob("evaluate/*")) == before
