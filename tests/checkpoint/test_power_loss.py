"""R4: the power fails during a save, and the disk kept any part of what was not synced, in any order."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from kdcli.checkpoint import load
from kdcli.errors import CheckpointError

Log = list[tuple[str, ...]]
Survives = Callable[[Log, int], bool]


@pytest.fixture
def survives(tmp_path: Path, saver: ModuleType, power: ModuleType) -> Survives:
    """Whether a log and a seed leave what they must."""
    return lambda log, seed: _survives(log, tmp_path, saver, power, seed)


def _survives(log: Log, tmp_path: Path, saver: ModuleType, power: ModuleType, seed: int) -> bool:
    """Whether after a power cut at a random moment the last acknowledged checkpoint loads, or a newer one."""
    chance = random.Random(seed)
    moment = chance.randrange(1, len(log) + 1)
    acknowledged = sum(operation == ("acknowledged",) for operation in log[:moment])
    target = tmp_path / "after"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    done = [operation for operation in log[:moment] if operation != ("acknowledged",)]
    power.write_survivors(power.replayed(done), target, chance)
    try:
        loaded = load(target / "checkpoints", fallback=False)
    except CheckpointError:
        return acknowledged == 0
    return loaded.step >= acknowledged and bool(saver.is_same(loaded, loaded.step))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, saver: ModuleType, power: ModuleType) -> Log:
    """What three saves, each acknowledged at its end, do to the disk."""
    root: Path = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        recorder = power.Recorder(patch, root)
        for step in (1, 2, 3):
            saver.save(root / "checkpoints", step)
            recorder.log.append(("acknowledged",))
    recorded: Log = recorder.log
    return recorded


def test_a_power_cut_at_any_moment_keeps_the_last_acknowledged_checkpoint(log: Log, survives: Survives) -> None:
    assert [seed for seed in range(300) if not survives(log, seed)] == []


def _without_one_sync(log: Log) -> Iterator[tuple[str, Log]]:
    """The log without the sync that makes the store known, then without each of those of the second save."""
    first, second, _ = [number for number, operation in enumerate(log) if operation == ("acknowledged",)]
    for number in [log.index(("fsync", ".")), *range(first, second)]:
        if log[number][0] == "fsync":
            yield log[number][1], log[:number] + log[number + 1 :]


def test_leaving_out_any_one_sync_loses_a_checkpoint(log: Log, survives: Survives) -> None:
    without = list(_without_one_sync(log))
    assert len(without) == 9  # parent; four files; their directory; store; pointer; store
    for left_out, shorter in without:
        assert not all(survives(shorter, seed) for seed in range(3000)), left_out
