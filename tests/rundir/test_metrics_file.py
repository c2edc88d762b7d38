from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcli.errors import CheckpointError, MachineError
from kdcli.rundir import MetricsFile, read_metrics

_settings = settings(max_examples=100, deadline=None, database=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the metrics go."""
    return tmp_path / "metrics.jsonl"


def test_each_record_is_one_line(path: Path) -> None:
    with MetricsFile(path) as metrics:
        metrics.append({"epoch": 1, "train/loss": 0.5})
        metrics.append({"epoch": 2, "train/loss": float("nan"), "text": "two\nlines"})
        metrics.sync()
    lines = path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == read_metrics(path)
    assert read_metrics(path) == [
        {"epoch": 1, "train/loss": 0.5},
        {"epoch": 2, "train/loss": None, "text": "two\nlines"},
    ]


def test_a_record_is_written_by_one_call(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        return real(descriptor, data)

    with MetricsFile(path) as metrics:
        monkeypatch.setattr(os, "write", write)
        metrics.append({"epoch": 1})
    assert calls == [path.stat().st_size]


def test_a_resumed_run_goes_on_from_the_offset_of_its_checkpoint(path: Path) -> None:
    with MetricsFile(path) as metrics:
        metrics.append({"epoch": 1})
        offset = metrics.offset
        metrics.append({"epoch": 2, "from": "before the crash"})
    with MetricsFile(path) as metrics:
        metrics.truncate(offset)
        assert metrics.offset == offset == path.stat().st_size
        metrics.append({"epoch": 2, "from": "after"})
    assert read_metrics(path) == [{"epoch": 1}, {"epoch": 2, "from": "after"}]


def test_wherever_a_crash_tears_the_file_whole_lines_remain(path: Path) -> None:
    with MetricsFile(path) as metrics:
        for epoch in range(3):
            metrics.append({"epoch": epoch})
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        count = whole[:length].count(b"\n")
        expected = [{"epoch": epoch} for epoch in range(count)]
        assert read_metrics(path) == expected
        with MetricsFile(path) as metrics:
            assert metrics.offset == len(b"".join(whole.splitlines(keepends=True)[:count]))
            metrics.append({"epoch": 9})
        assert read_metrics(path) == [*expected, {"epoch": 9}]


def test_sync_puts_it_on_the_disk_and_opening_its_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    with MetricsFile(path) as metrics:
        assert synced == [path.parent.stat().st_ino]
        metrics.sync()
        assert synced[1:] == [path.stat().st_ino]


def test_a_torn_line_is_left_alone_by_a_reader(path: Path) -> None:
    path.write_bytes(b'{"a": 1}\n{"a": ')
    assert read_metrics(path) == [{"a": 1}]
    assert path.read_bytes() == b'{"a": 1}\n{"a": '


@pytest.mark.parametrize("offset", [-1, 1, 5, 10, 10**6])
def test_an_offset_that_no_checkpoint_of_this_file_can_have_is_refused(path: Path, offset: int) -> None:
    with MetricsFile(path) as metrics:
        metrics.append({"a": 1})
        assert metrics.offset == 9
        with pytest.raises(CheckpointError):
            metrics.truncate(offset)
        metrics.truncate(9)
        metrics.truncate(0)
        assert metrics.offset == 0


@pytest.mark.parametrize(
    ("data", "line"),
    [(b"{}\nnot json\n{}\n", 2), (b"[]\n", 1), (b"{}\n\n", 2), (b'{"a": 1, "a": 2}\n', 1), (b"\xff\n", 1)],
)
def test_a_whole_line_that_is_no_record_is_refused_by_its_number(path: Path, data: bytes, line: int) -> None:
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        read_metrics(path)
    assert caught.value.where == f"{path}:{line}"


@_settings
@given(st.binary(max_size=300))
def test_any_bytes_are_records_or_a_checkpoint_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "metrics.jsonl"
    path.write_bytes(data)
    with MetricsFile(path) as metrics:
        assert metrics.offset == data.rfind(b"\n") + 1
    try:
        records = read_metrics(path)
    except CheckpointError:
        return
    assert all(isinstance(record, dict) for record in records)


def test_a_last_line_without_end_that_is_far_too_long_is_refused(path: Path) -> None:
    path.write_bytes(b"{}\n" + b"x" * 2 * 2**20)
    with pytest.raises(CheckpointError, match="no line ends"):
        MetricsFile(path)


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_regular_file_is_refused(path: Path, kind: str) -> None:
    if kind == "link":
        path.symlink_to(path.with_name("outside"))
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(CheckpointError):
        MetricsFile(path)
    with pytest.raises(CheckpointError):
        read_metrics(path)
    assert not path.with_name("outside").exists()


def test_a_missing_file_is_a_checkpoint_error(path: Path) -> None:
    with pytest.raises(CheckpointError, match="is missing"):
        read_metrics(path)


def test_a_full_disk_leaves_no_half_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def nearly_full(descriptor: int, data: bytes) -> int:
        if len(data) < 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[:5])

    with MetricsFile(path) as metrics:
        metrics.append({"epoch": 1})
        monkeypatch.setattr(os, "write", nearly_full)
        with pytest.raises(MachineError, match="bytes needed"):
            metrics.append({"epoch": 2})
    assert read_metrics(path) == [{"epoch": 1}]
    assert path.read_bytes().endswith(b"\n")
