"""``kd evaluate`` and the runs it is given: teachers of earlier, and all that can be wrong with a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdcli import checkpoint
from kdcli.commands.evaluate import with_runs
from kdcli.errors import CheckpointError, DataError, DivergedError, UsageError
from kdcli.program.run import Manner
from kdcli.program.teacher import train_teacher
from kdcli.rundir import RunDir
from kdcli.schema.results import Evaluation
from kdcli.yaml_io import dump_yaml

Configure = Callable[..., Any]
Bench = Any


def copied(run: RunDir, folder: Path) -> RunDir:
    return RunDir.open(Path(shutil.copytree(run.path, folder / run.path.name)))


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_teacher_that_is_gone_leaves_null_and_one_line(bench: Bench, tiny_student: RunDir, tmp_path: Path) -> None:
    student = copied(tiny_student, tmp_path)
    edit_json(student.path / "summary.json", lambda summary: summary["teacher"].update(run=["outputs/train-teacher/x"]))
    found = bench([student], smoke=True).runs[0]
    assert (found.test.agreement, found.train.kl_to_teacher) == (None, None)
    assert [line for line in bench.said if "outputs/train-teacher/x is not there any more" in line]


def test_a_teacher_whose_weights_changed_is_not_asked(bench: Bench, tiny_student: RunDir, tmp_path: Path) -> None:
    student = copied(tiny_student, tmp_path)
    edit_json(student.path / "summary.json", lambda summary: summary["teacher"].update(sha256="0" * 64))
    assert bench([student], smoke=True).runs[0].test.agreement is None
    assert [line for line in bench.said if "are not those that taught it" in line]


def test_a_teacher_is_found_where_the_outputs_were_moved(
    bench: Bench, tiny_student: RunDir, tiny_teacher: RunDir, tmp_path: Path
) -> None:
    outputs = tmp_path / "elsewhere" / "outputs"
    copied(tiny_teacher, outputs / "train-teacher")
    student = copied(tiny_student, outputs / "distill-student")
    path = f"outputs/train-teacher/{tiny_teacher.path.name}"
    edit_json(student.path / "summary.json", lambda summary: summary["teacher"].update(run=[path]))
    assert bench([student], smoke=True).runs[0].test.agreement is not None


def test_a_run_that_did_not_finish_is_compared_with_the_teacher_of_its_configuration(
    bench: Bench, tiny_student: RunDir, tmp_path: Path
) -> None:
    student = copied(tiny_student, tmp_path)
    (student.path / "summary.json").unlink()
    student.set_status("interrupted")
    assert bench([student], smoke=True).runs[0].test.agreement is not None
    assert [line for line in bench.said if "is interrupted" in line]


def test_runs_on_different_data_are_refused(
    bench: Bench, configure: Configure, manner: Manner, tiny_teacher: RunDir, tmp_path: Path
) -> None:
    options = ("dataset=letter", "model=mlp_30", "epochs=1", "device=cpu", f"output_dir={tmp_path}")
    letter = train_teacher(configure("train-teacher", *options), manner)
    with pytest.raises(UsageError, match=r"mnist \(fingerprint \w{12}, 10 classes.*letter \(fingerprint \w{12}, 26"):
        bench([tiny_teacher, letter])
    assert bench.written() == []


def test_data_that_changed_are_refused(bench: Bench, tiny_teacher: RunDir, tmp_path: Path) -> None:
    run = copied(tiny_teacher, tmp_path)
    config = run.config()
    config["dataset"]["kind"] = "letter"
    (run.path / "config.yaml").write_text(dump_yaml(config))
    with pytest.raises(DataError, match="trained on mnist .*found now is letter"):
        bench([run])
    assert bench.written() == []


def test_a_network_whose_answers_are_not_finite_has_diverged(
    bench: Bench, tiny_teacher: RunDir, tmp_path: Path
) -> None:
    run = copied(tiny_teacher, tmp_path)
    store = run.path / "checkpoints"
    loaded = checkpoint.load(store, "best")
    weights = {name: tensor * 1e30 for name, tensor in loaded.tensors["model"].items()}
    card = {"card": loaded.state["card"], "epoch": 0, "step": 999}
    checkpoint.point(store, "best", checkpoint.commit(store, 999, {"model": weights}, card))
    with pytest.raises(DivergedError, match="answers on the test set are NaN or infinite"):
        bench([run])
    assert [written.record.status for written in bench.written()] == ["diverged"]


def test_another_checkpoint_than_the_damaged_one_is_named(bench: Bench, tiny_teacher: RunDir, tmp_path: Path) -> None:
    run = copied(tiny_teacher, tmp_path)
    store = run.path / "checkpoints"
    loaded = checkpoint.load(store, "best")
    card = {"card": loaded.state["card"], "epoch": 0, "step": 999}
    newer = checkpoint.commit(store, 999, {"model": loaded.tensors["model"]}, card)
    checkpoint.point(store, "best", newer)
    weights = store / newer.dir / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    bench([run], smoke=True)
    assert [line for line in bench.said if "best.json could not be used" in line]


def test_damaged_records_are_refused(bench: Bench, tiny_student: RunDir, tmp_path: Path) -> None:
    without_model = copied(tiny_student, tmp_path / "a")
    config = without_model.config()
    del config["model"]
    (without_model.path / "config.yaml").write_text(dump_yaml(config))
    with pytest.raises(CheckpointError, match="model is missing"):
        bench([without_model])
    wrong_summary = copied(tiny_student, tmp_path / "b")
    edit_json(wrong_summary.path / "summary.json", lambda summary: summary.update(steps="many"))
    with pytest.raises(CheckpointError, match="steps"):
        bench([wrong_summary])


def test_only_trainings_can_be_named(configure: Configure, evaluation: Evaluation) -> None:
    with pytest.raises(UsageError, match="is no training but of 'evaluate'"):
        with_runs(configure("evaluate", f"run={evaluation.run}"), smoke=False)
    with pytest.raises(UsageError, match="names no run"):
        with_runs(configure("evaluate", "run=[]"), smoke=False)
