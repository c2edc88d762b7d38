"""Image folders that are decoded batch by batch: to the bit what the same folder gives in memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from kdcli.data import load

IMAGES = 66
CUT = [f"cut-{share}.png" for share in range(10, 100, 10)]
NETS = '''
import os, signal
from pathlib import Path
import torch


class Net(torch.nn.Sequential):
    """Asks for a stop in one of its steps, once."""

    def __init__(self, input_shape, classes, stop_at=None):
        layers = [torch.nn.Linear(144, 12), torch.nn.Dropout(0.3), torch.nn.Linear(12, classes)]
        super().__init__(torch.nn.Flatten(), *layers)
        self.stop_at, self.steps = stop_at, 0

    def forward(self, images):
        self.steps += self.training
        if self.steps == self.stop_at and not Path("stopped.once").exists():
            Path("stopped.once").touch()
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(images)
'''
LINE = (
    "dataset=imagefolder", "dataset.size=12", "dataset.channels=1", "batch_size=8", "device=cpu",
    "model=custom", "model.target=streamed_nets:Net", "--progress=none",
)  # fmt: skip
HOW = {
    "whole": ["dataset.memory=whole"],
    "here": ["dataset.memory=stream"],
    "workers": ["dataset.memory=stream", "dataset.workers=2"],
}
VIEWS = {"kept": "flip", "live": "shift"}  # shifts are more than the epochs: the teacher is asked in every step
Lines = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with PNG and JPEG images of three digits, and with networks of the user's own."""
    root = tmp_path_factory.mktemp("streaming")
    (root / "streamed_nets.py").write_text(NETS)
    mnist = load("mnist", {}).train
    for label, name in enumerate(("zero", "one", "two")):
        (root / "images" / name).mkdir(parents=True)
        chosen = (mnist.labels == label).nonzero().squeeze(1)[: IMAGES // 3].tolist()
        for number, index in enumerate(chosen):
            image = Image.fromarray(mnist.inputs[index, 0].numpy())
            image.save(root / "images" / name / f"{number:02}.{('png', 'jpg')[number % 2]}")
    whole = (root / "images" / "two" / "00.png").read_bytes()
    shutil.copytree(root / "images", root / "broken")
    for share, name in enumerate(CUT, start=1):
        (root / "broken" / "one" / name).write_bytes(whole[: len(whole) * share // 10])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        yield root


def line(command: str, how: str, *more: str, name: str, root: str = "images") -> list[str]:
    return [command, *LINE, f"dataset.root={root}", *HOW[how], f"output_dir={name}", *more]


def run_of(place: Path, name: str, command: str = "train-teacher") -> Path:
    (run,) = (place / name / command).iterdir()
    return run


def results(run: Path) -> dict[str, Any]:
    """What must be the same: weights, optimizer, noise, metrics and results, but for times and paths."""
    found: dict[str, Any] = {}
    for pointer in ("last", "best"):
        step = run / "checkpoints" / json.loads((run / "checkpoints" / f"{pointer}.json").read_text())["dir"]
        for path in step.glob("*.safetensors" if pointer == "last" else "model.safetensors"):
            found[f"{pointer} {path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    found["metrics"] = [timeless(json.loads(each)) for each in (run / "metrics.jsonl").read_text().splitlines()]
    found["summary"] = timeless(json.loads((run / "summary.json").read_text()))
    found["fingerprint"] = json.loads((run / "environment.json").read_text())["data_fingerprint"]
    return found


def timeless(values: dict[str, Any]) -> dict[str, Any]:
    left_out = ("seconds", "images_per_second", "wall_seconds", "seconds_per_10k", "run")
    return {key: value for key, value in values.items() if key not in left_out}


@pytest.fixture(scope="module")
def done(place: Path, kd_lines: Lines) -> dict[str, Any]:
    """One process: a teacher in every way, one of them stopped in the middle of an epoch; students; a measurement."""
    shift, stop, trust = "dataset.views=shift", "+model.arguments.stop_at=9", "trust_code=true"
    lines = {f"teacher {how}": line("train-teacher", how, "epochs=3", shift, name=how) for how in HOW}
    lines["stopped"] = line("train-teacher", "workers", "epochs=3", shift, stop, name="stopped")
    lines["resumed"] = ["resume", "latest", "output_dir=stopped", trust, "--progress=none"]
    for how in ("whole", "workers"):
        for kind, views in VIEWS.items():
            more = ["teacher=latest", trust, "baseline=false", "epochs=2", "alpha=0.5", f"dataset.views={views}"]
            store = f"targets.store=answers-{how}"
            lines[f"{kind} {how}"] = line("distill-student", how, *more, store, name="whole")
    lines |= {f"broken {how}": line("train-teacher", how, name="broken-out", root="broken") for how in HOW}
    lines["measured"] = ["evaluate", "run=latest", "output_dir=workers", "latency=false", trust, "device=cpu"]
    return dict(zip(lines, kd_lines(list(lines.values()), place), strict=True))


def students(place: Path) -> dict[tuple[str, str], Path]:
    """Where each of them is, by its views and by how its images were read."""
    found = {}
    for run in (place / "whole" / "distill-student").iterdir():
        section = yaml.safe_load((run / "config.yaml").read_text())["dataset"]
        found[section["views"], section["memory"]] = run
    return found


def test_every_line_ends_as_it_should(done: dict[str, Any]) -> None:
    codes = {"stopped": 143} | {f"broken {how}": 3 for how in HOW}
    wrong = {name: (each.code, each.err) for name, each in done.items() if each.code != codes.get(name, 0)}
    assert wrong == {}


def test_a_streamed_training_is_that_in_memory_to_the_bit(place: Path, done: dict[str, Any]) -> None:
    whole = results(run_of(place, "whole"))
    assert len(whole["metrics"]) == 3
    assert results(run_of(place, "here")) == whole
    assert results(run_of(place, "workers")) == whole


def test_stopped_in_the_middle_of_an_epoch_and_resumed_it_is_the_same(place: Path, done: dict[str, Any]) -> None:
    run = run_of(place, "stopped")
    assert (place / "stopped.once").exists()
    assert results(run) == results(run_of(place, "whole"))


def test_a_teacher_answers_on_streamed_views_as_on_held_ones(place: Path, done: dict[str, Any]) -> None:
    found = students(place)
    for views in VIEWS.values():
        assert results(found[views, "stream"]) == results(found[views, "whole"])
    kept = [sorted((place / f"answers-{how}").glob("*/answers.bin")) for how in ("whole", "workers")]
    assert [len(each) for each in kept] == [1, 1]  # of the flips; shifts are more than the epochs
    assert kept[0][0].read_bytes() == kept[1][0].read_bytes()
    assert kept[0][0].parent.name == kept[1][0].parent.name


def test_a_streamed_run_is_measured(place: Path, done: dict[str, Any]) -> None:
    evaluation = json.loads((run_of(place, "workers", "evaluate") / "evaluation.json").read_text())
    summary = json.loads((run_of(place, "whole") / "summary.json").read_text())
    assert evaluation["runs"][0]["test"] == summary["test"]


def test_broken_images_are_all_listed_before_anything_is_written(place: Path, done: dict[str, Any]) -> None:
    said = [done[f"broken {how}"].err for how in HOW]
    assert all(name in said[0] for name in CUT)
    assert said[1] == said[2] == said[0]
    assert not (place / "broken-out").exists()


def start(place: Path, name: str, *more: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A training of many epochs with two workers, once it has begun, and its workers."""
    command = [sys.executable, "-m", "kdcli", *line("train-teacher", "workers", "epochs=400", *more, name=name)]
    process = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        workers = children(process.pid) if list(place.glob(f"{name}/*/*/checkpoints/last.json")) else []
        if len(workers) == 2:
            return process, workers
        time.sleep(0.005)
    raise AssertionError(f"no workers: {process.communicate(timeout=1)}")


def children(pid: int) -> list[int]:
    return [
        int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and parent_of(int(path.name)) == pid
    ]


def parent_of(pid: int) -> int | None:
    """None where the process is gone."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state in "ZX" else int(parent)


@pytest.mark.slow
def test_a_killed_worker_is_an_error_of_the_machine_and_the_checkpoint_stays(place: Path, kd_lines: Lines) -> None:
    process, workers = start(place, "killed-worker")
    os.kill(workers[0], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 6, said
    assert "dataset.workers" in said
    assert "Traceback" not in said
    assert [pid for pid in workers if parent_of(pid) is not None] == []
    (verified,) = kd_lines([["verify", str(run_of(place, "killed-worker"))]], place)
    assert verified.code == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_workers_leave_a_stop_to_their_parent(place: Path, number: signal.Signals) -> None:
    process, _ = start(place, f"asked-{number.name}")
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 143), said
    assert "saved" in said
    assert "Traceback" not in said
    assert not Path(f"/proc/{process.pid}").exists()


@pytest.mark.slow
def test_no_worker_outlives_a_killed_parent(place: Path) -> None:
    process, workers = start(place, "killed-parent")
    process.kill()
    process.communicate()
    end = time.monotonic() + 3
    while time.monotonic() < end and any(parent_of(pid) is not None for pid in workers):
        time.sleep(0.01)
    assert [pid for pid in workers if parent_of(pid) is not None] == []
