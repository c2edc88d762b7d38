"""Trackers of other projects: told what a run's own files hold, and unable to harm it."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kdcli.__main__ import main
from kdcli.errors import MachineError
from kdcli.rundir import RunDir, read_metrics
from kdcli.schema.tracking import MlflowTracker, NoTracker, TensorboardTracker, WandbTracker
from kdcli.trackers import Guarded, check_installed

TINY = ("transfer.fraction=0.01", "batch_size=32", "device=cpu", "model=mlp", "model.hidden=[8]", "--progress=none")


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Book:
    """Writes down what it is told; at ``fails_at`` calls it fails."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.told: list[Any] = []
        self._fails_at = fails_at

    def _tell(self, what: Any) -> None:
        if len(self.told) == self._fails_at:
            raise ConnectionError("the server\nis gone")
        self.told.append(what)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._tell((step, dict(values)))

    def end(self, status: str, results: Mapping[str, float]) -> None:
        self._tell((status, dict(results)))


def test_a_tracker_is_told_everything_once() -> None:
    said: list[str] = []
    book = Book()
    guarded = Guarded("book", lambda: book, said.append)
    guarded.scalars(10, {"val/top1": 0.5})
    guarded.end("finished", {"test/top1": 0.6})
    guarded.end("failed", {})
    guarded.scalars(20, {"val/top1": 0.7})
    assert book.told == [(10, {"val/top1": 0.5}), ("finished", {"test/top1": 0.6})]
    assert said == []


@pytest.mark.parametrize("fails_at", [0, 1])
def test_one_that_fails_is_told_no_more_and_said_once(fails_at: int) -> None:
    said: list[str] = []
    book = Book(fails_at)
    guarded = Guarded("book", lambda: book, said.append)
    for step in range(4):
        guarded.scalars(step, {})
    guarded.end("finished", {})
    assert len(book.told) == fails_at
    assert said == ["tracker=book failed and is told no more: ConnectionError: the server is gone"]


def test_one_that_cannot_be_made_is_left_out() -> None:
    said: list[str] = []

    def broken() -> None:
        raise RuntimeError("no licence")

    guarded = Guarded("book", broken, said.append)
    guarded.end("finished", {})
    assert said == ["tracker=book failed and is told no more: RuntimeError: no licence"]


def test_an_extra_that_is_missing_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdcli.extras.find_spec", lambda name: None)
    for section in (TensorboardTracker(kind="tensorboard"), MlflowTracker(kind="mlflow"), WandbTracker(kind="wandb")):
        with pytest.raises(MachineError, match=f"needs {section.kind}, which is not installed") as caught:
            check_installed(section)
        assert f"kdcli[{section.kind}]" in str(caught.value.fix)
    check_installed(NoTracker())
    assert main(["train-teacher", *TINY, "tracker=wandb"]) == 6
    assert main(["train-teacher", "-m", *TINY, "tracker=wandb", "seed=0,1"]) == 6
    assert not Path("outputs").exists()


def only(command: str) -> RunDir:
    (path,) = Path("outputs", command).iterdir()
    return RunDir.open(path)


def expected(run: RunDir) -> dict[str, list[float]]:
    lines = read_metrics(run.metrics)
    return {name: [line[name] for line in lines] for name in ("train/loss", "val/top1", "lr")}


@needs("tensorboard")
def test_tensorboard_holds_the_metrics_of_student_and_baseline_by_their_names(tiny_teacher: RunDir) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(["distill-student", *TINY, "epochs=3", f"teacher={tiny_teacher.path}", "tracker=tensorboard"]) == 0
    run = only("distill-student")
    for each in (run, RunDir.open(run.path / "baseline")):
        events = EventAccumulator(str(each.path / "tensorboard"))
        events.Reload()
        for name, values in expected(each).items():
            assert [event.value for event in events.Scalars(name)] == pytest.approx(values, rel=1e-6)
        assert [event.step for event in events.Scalars("lr")] == [line["step"] for line in read_metrics(each.metrics)]
        assert events.Scalars("test/top1")[0].value == pytest.approx(each.summary()["test"]["top1"])
    assert "baseline/test/errors" in EventsOf(run).names


class EventsOf:
    """The names of the scalars of a run."""

    def __init__(self, run: RunDir) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(run.path / "tensorboard"))
        events.Reload()
        self.names = set(events.Tags()["scalars"])


@needs("tensorboard")
def test_each_job_of_a_sweep_is_tracked_by_itself() -> None:
    assert main(["train-teacher", "-m", *TINY, "epochs=1", "seed=0,1", "tracker=tensorboard"]) == 0
    (sweep,) = Path("outputs/sweeps").iterdir()
    for job in ("00", "01"):
        assert "val/top1" in EventsOf(RunDir.open(sweep / job)).names


@needs("mlflow")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_holds_params_metrics_and_results_in_a_local_file() -> None:
    assert main(["train-teacher", *TINY, "epochs=2", "tracker=mlflow"]) == 0
    from mlflow.tracking import MlflowClient

    run = only("train-teacher")
    client = MlflowClient(tracking_uri=f"sqlite:///{Path('outputs/mlflow.db').absolute()}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "kd"]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["optimizer.kind"] == "adamw"
    assert found.data.metrics["test/top1"] == pytest.approx(run.summary()["test"]["top1"])
    for name, values in expected(run).items():
        history = client.get_metric_history(found.info.run_id, name)
        in_order = sorted(history, key=lambda metric: metric.step)
        assert [metric.value for metric in in_order] == pytest.approx(values)


@needs("wandb")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_writes_its_files_and_sends_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train-teacher", *TINY, "epochs=2", "tracker=wandb"]) == 0
    (folder,) = Path("outputs/wandb").glob("offline-run-*")
    (file,) = folder.glob("run-*.wandb")
    content = file.read_bytes()
    for word in (b"val/top1", b"optimizer.kind", b"test/top1"):
        assert word in content
    assert "failed" not in capfd.readouterr().err


def test_without_a_tracker_none_of_them_is_imported(tmp_path: Path) -> None:
    import subprocess

    code = "import sys; from kdcli.__main__ import main; main(sys.argv[1:]); print(*sys.modules)"
    line = [sys.executable, "-c", code, "train-teacher", *TINY, "epochs=1"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert not {"tensorboard", "mlflow", "wandb"} & set(done.stdout.split())
    record = json.loads(next(Path("outputs/train-teacher").glob("*/run.json")).read_text())
    assert record["status"] == "finished"
