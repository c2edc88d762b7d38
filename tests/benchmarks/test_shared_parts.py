"""What the benchmarks measure with: timing, targets, the ordinary loop, the products, and the watched processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import ordinary, products, scaling
from benchmarks.gpu import Sampler
from benchmarks.side_by_side import Target, interleave, ratio
from benchmarks.workshop import ROOT, Done, Workshop
from kdcli.models.mlp import Mlp
from kdcli.objective import Objective, Span
from kdcli.rundir import RunDir

PEAK = """
import sys
from benchmarks.workshop import Workshop
with Workshop() as shop:
    print(shop.run([sys.executable, "-c", "bytearray(200_000_000)"]).peak_bytes)
"""


@pytest.fixture
def shop() -> Iterator[Workshop]:
    with Workshop() as one:
        yield one


@pytest.mark.parametrize(
    ("got", "at_most", "met"), [(9, False, False), (10, False, True), (10, True, True), (11, True, False)]
)
def test_a_target_is_met_from_its_own_side(got: float, at_most: bool, met: bool) -> None:
    assert Target("a number", 10, got, at_most=at_most).met is met


def test_every_round_calls_each_way_once() -> None:
    calls: list[str] = []

    def called(name: str) -> int:
        calls.append(name)
        return len(calls)

    results = interleave({"a": lambda: called("a"), "b": lambda: called("b")}, 3)
    assert calls == ["a", "b", "a", "b", "a", "b"]
    assert results == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_a_ratio_is_that_of_the_medians() -> None:
    assert ratio([1, 100, 6], [2, 0.1, 3]) == 3


def test_a_power_law_has_its_exponent() -> None:
    assert scaling.exponent([1, 2, 5, 20], [3 * x**1.7 for x in (1, 2, 5, 20)]) == pytest.approx(1.7)


def test_the_ordinary_loss_is_kds_objective() -> None:
    student, teacher = torch.randn(2, 6, 10, dtype=torch.float64).unbind()
    labels = torch.randint(10, (6,))
    objective = Objective((Span(ordinary.ALPHA, ordinary.ALPHA),), "kd")
    temperature, alpha = torch.tensor([ordinary.TEMPERATURE]), torch.tensor([ordinary.ALPHA])
    total = objective(student[None], labels, teacher[None], temperature.double(), alpha.double()).total
    torch.testing.assert_close(ordinary.distillation_loss(student, teacher, labels), total[0], rtol=1e-6, atol=0)


def test_the_ordinary_loop_asks_kds_own_teacher(tiny_teacher: RunDir) -> None:
    (path,) = tiny_teacher.path.glob("checkpoints/*/model.safetensors")
    own = Mlp(784, [30, 30], 10)
    own.load_state_dict(load_file(path))
    images = torch.randn(4, 1, 28, 28)
    torch.testing.assert_close(ordinary.read_teacher(path)(images), own(images))


def test_the_ordinary_loop_learns() -> None:
    torch.manual_seed(0)
    images, teacher, student = torch.randn(64, 6), ordinary.perceptron([6, 8, 10]), ordinary.perceptron([6, 8, 10])
    batches = [(images, teacher(images).argmax(1))]
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    losses = [ordinary.train_epoch(student, teacher, batches, optimizer, "cpu") for _ in range(200)]
    assert losses[-1] < losses[0] / 2


def test_the_products_are_those_of_a_training_step() -> None:
    shapes = [tuple(call().shape) for call in products.products([784, 30, 10], 64)]  # type: ignore[attr-defined]
    assert shapes == [(64, 30), (30, 784), (64, 10), (10, 30), (64, 30)]


def test_lines_of_a_command_are_stamped(shop: Workshop) -> None:
    script = "import time\nfor k in (1, 2, 3): print(f'epoch {k}/3  fine', flush=True); time.sleep(0.1)"
    done = shop.run([sys.executable, "-c", script])
    assert len(done.epochs) == 3
    assert 0.1 <= done.epoch_seconds < 0.5
    assert done.epochs[-1] < done.seconds


def test_a_command_is_left_at_the_line_that_was_waited_for(shop: Workshop) -> None:
    done = shop.run([sys.executable, "-c", "import time; print('now', flush=True); time.sleep(60)"], until="now")
    assert done.seconds < 30


def test_a_command_that_fails_ends_the_benchmark(shop: Workshop) -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        shop.run([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_process_is_charged_with_its_own_peak() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PEAK], env=environment, capture_output=True, text=True, check=True)
    assert 200e6 < int(done.stdout) < 230e6


def test_networks_that_train_together_count_once() -> None:
    together, alone = [{"seconds": 1.0}, {"seconds": 2.0}], [{"seconds": 4.0}]
    assert Done(0.0, 9.0, 0, [], {"00": together, "01": together, "02": alone}).training_seconds == 7


def test_the_share_of_a_gpu_is_that_of_the_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\nsleep 0.2; echo 100; echo '[N/A]'; sleep 0.4; echo 50; exec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    started = time.perf_counter()
    with Sampler() as sampler:
        time.sleep(1)
    late = Done(started, 1.0, 0, [(0.4, "epoch 1/2"), (1.0, "epoch 2/2")])
    whole = Done(started, 1.0, 0, [(0.0, "epoch 1/2"), (1.0, "epoch 2/2")])
    never = Done(started + 100, 1.0, 0, [(0.0, "epoch 1/2"), (1.0, "epoch 2/2")])
    assert [sampler.share([late]), sampler.share([whole]), sampler.share([never])] == [0.5, 0.75, None]


def test_the_parent_of_measured_processes_stays_small() -> None:
    script = "import sys, json, benchmarks.memory; print(json.dumps('torch' in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
