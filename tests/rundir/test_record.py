from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdcli.errors import CheckpointError, DivergedError
from kdcli.rundir import RunDir

_settings = settings(
    max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)

Make = Callable[..., RunDir]


def _record(run: RunDir) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run.path / "run.json").read_bytes())
    return content


def test_a_status_is_written_with_the_process_and_an_end_with_its_time(make: Make) -> None:
    run = make(status="created")
    run.set_status("running")
    assert {key: _record(run)[key] for key in ("status", "pid", "ended")} == {
        "status": "running",
        "pid": os.getpid(),
        "ended": None,
    }
    run.set_status("finished")
    assert _record(run)["status"] == "finished"
    assert _record(run)["ended"] >= _record(run)["started"]
    assert RunDir.open(run.path).record == run.record


def test_an_error_is_kept_as_it_was_shown_until_the_run_goes_on(make: Make) -> None:
    run = make(status="running")
    run.set_status("diverged", DivergedError("the loss is NaN", where="epoch 3", fix="a smaller lr"))
    assert _record(run)["error"] == {"code": 5, "what": "the loss is NaN", "where": "epoch 3", "fix": "a smaller lr"}
    assert RunDir.open(run.path).record == run.record
    run.set_status("running")
    assert _record(run)["error"] is None


def test_a_run_whose_process_is_gone_is_interrupted(make: Make) -> None:
    run = make(status="running")
    assert run.status == "running"
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    _alter(run, pid=process.pid)
    assert RunDir.open(run.path).status == "interrupted"
    assert RunDir.open(run.path).record.status == "running"


def test_a_run_whose_process_number_now_belongs_to_a_later_process_is_interrupted(make: Make) -> None:
    run = make(status="running")
    os.utime(run.path / "run.json", (1_000_000_000, 1_000_000_000))
    assert run.status == "interrupted"


def test_of_a_run_on_another_machine_the_record_is_believed(make: Make) -> None:
    run = make(status="running")
    _alter(run, pid=2**22 + 1, host="another")
    other = RunDir.open(run.path)
    assert (other.status, other.has_process()) == ("running", False)


@pytest.mark.parametrize("pid", [0, -1, 2**40])
def test_a_process_number_that_cannot_be_is_of_no_process(make: Make, pid: int) -> None:
    run = make(status="running")
    _alter(run, pid=pid)
    assert RunDir.open(run.path).status == "interrupted"


def test_the_first_process_is_another_users_and_alive(make: Make) -> None:
    run = make(status="running")
    _alter(run, pid=1)
    assert RunDir.open(run.path).status == "running"


def _alter(run: RunDir, **changes: object) -> None:
    (run.path / "run.json").write_text(json.dumps(_record(run) | changes))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"schema": 2}, "schema 2 is not 1"),
        ({"schema": True}, "schema True"),
        ({"status": "done"}, "status"),
        ({"smoke": 0}, "smoke"),
        ({"pid": "12"}, "pid"),
        ({"started": "yesterday"}, "started"),
        ({"started": "2026-11-21T00:00:00.000000Z\n"}, "started"),
        ({"argv": "kd"}, "argv"),
        ({"error": {"code": 5}}, "error.what"),
        ({"_target_": "os.system"}, "_target_"),
    ],
)
def test_an_altered_record_is_refused_by_its_key(make: Make, changes: dict[str, object], named: str) -> None:
    run = make()
    _alter(run, **changes)
    with pytest.raises(CheckpointError, match=named) as caught:
        RunDir.open(run.path)
    assert caught.value.where == str(run.path / "run.json")


def test_a_record_of_a_newer_version_says_what_to_do(make: Make) -> None:
    run = make()
    _alter(run, schema=2)
    with pytest.raises(CheckpointError) as caught:
        RunDir.open(run.path)
    assert caught.value.fix == "use the version of kd that wrote it"


@_settings
@given(
    key=st.sampled_from(["schema", "id", "status", "smoke", "pid", "host", "started", "ended", "argv", "error", "x"]),
    value=_json,
)
def test_any_value_at_any_key_is_a_record_or_a_checkpoint_error(make: Make, key: str, value: object) -> None:
    run = make()
    _alter(run, **{key: value})
    try:
        other = RunDir.open(run.path)
    except CheckpointError:
        return
    assert other.status in ("created", "running", "finished", "failed", "interrupted", "diverged")
    other.set_status("running")


@_settings
@given(data=st.binary(max_size=300), name=st.sampled_from(["run.json", "config.yaml", "summary.json"]))
def test_any_bytes_in_a_file_of_a_run_are_a_checkpoint_error(make: Make, data: bytes, name: str) -> None:
    run = make()
    (run.path / name).write_bytes(data)
    readers = {"run.json": lambda: RunDir.open(run.path), "config.yaml": run.config, "summary.json": run.summary}
    try:
        value = readers[name]()
    except CheckpointError:
        return
    assert name == "config.yaml"
    assert isinstance(value, dict)


def test_the_configuration_is_read_back_as_it_was_written(make: Make) -> None:
    assert make().config() == {"seed": 3, "model": {"name": "mlp", "hidden": [8, 8]}, "lr": 1e-05}


@pytest.mark.parametrize(
    ("text", "reason", "where"),
    [
        ("model: !!python/name:os.system\n", "a tag", "config.yaml:1:8"),
        ("model:\n  name: ${oc.env:SECRET}\n", "not resolved", "config.yaml: model.name"),
        ("seed: 1\nseed: 2\n", "appears twice", "config.yaml:2:1"),
    ],
)
def test_a_hostile_configuration_is_refused_by_its_place(make: Make, text: str, reason: str, where: str) -> None:
    run = make()
    (run.path / "config.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=reason) as caught:
        run.config()
    assert caught.value.where == str(run.path / where)


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "summary.json"])
def test_a_link_in_place_of_a_file_is_refused(make: Make, tmp_path: Path, name: str) -> None:
    run = make()
    (tmp_path / "outside").write_text('{"schema": 1}')
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).symlink_to(tmp_path / "outside")
    for read in {"run.json": [RunDir.open], "config.yaml": [], "summary.json": []}[name]:
        with pytest.raises(CheckpointError, match="symbolic link"):
            read(run.path)
    with pytest.raises(CheckpointError, match="symbolic link"):
        {"run.json": lambda: RunDir.open(run.path), "config.yaml": run.config, "summary.json": run.summary}[name]()


def test_a_summary_is_read_back_with_null_for_what_is_not_finite(make: Make) -> None:
    run = make()
    run.write_summary({"schema": 1, "test": {"nll": float("inf"), "top1": 0.5}})
    assert run.summary() == {"schema": 1, "test": {"nll": None, "top1": 0.5}}


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": 2}', "1"])
def test_a_summary_of_another_form_is_refused(make: Make, text: str) -> None:
    run = make()
    (run.path / "summary.json").write_text(text)
    with pytest.raises(CheckpointError, match="schema"):
        run.summary()


def test_a_run_knows_where_its_checkpoints_and_metrics_are(make: Make) -> None:
    run = make()
    assert (run.checkpoints, run.metrics) == (run.path / "checkpoints", run.path / "metrics.jsonl")


def test_a_run_that_was_deleted_has_no_process(make: Make) -> None:
    run = make(status="running")
    (run.path / "run.json").unlink()
    assert (run.has_process(), run.status) == (False, "interrupted")


def test_runs_are_listed_without_importing_torch() -> None:
    check = "import sys, kdcli.rundir; sys.exit(any(name in sys.modules for name in ('torch', 'hydra', 'safetensors')))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", check], check=True, env=environment)
