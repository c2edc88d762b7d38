"""What a look at every image found is kept, and believed only as long as nothing has changed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kdcli.data import survey
from kdcli.data.imagefolder import imagefolder
from kdcli.data.types import Dataset, files_of

Folder = Callable[..., Path]


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests have just written counts as old."""
    monkeypatch.setattr(survey, "SETTLED_SECONDS", -60.0)


def _read(root: Path, size: int = 8) -> Dataset:
    return imagefolder(str(root), size, 3, memory="stream")


def _kept(root: Path) -> list[Path]:
    return [path for path in (root.parent / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


def _say(path: Path, fingerprint: str) -> None:
    """Let a kept survey say something that no look at the images would find."""
    said, _, numbers = path.read_bytes()[32:].partition(b"\n")
    content = json.dumps(json.loads(said) | {"fingerprint": fingerprint}).encode() + b"\n" + numbers
    path.write_bytes(hashlib.sha256(content).digest() + content)


def test_what_was_found_is_kept_and_found_again(folder: Folder) -> None:
    root = folder()
    first = _read(root)
    (path,) = _kept(root)
    again = _read(root)
    assert again.fingerprint == first.fingerprint
    assert torch.equal(files_of(again.train).moments, files_of(first.train).moments)  # type: ignore[arg-type]
    _say(path, "believed")
    assert _read(root).fingerprint == "believed"


@pytest.mark.parametrize("change", ["content", "times", "name", "form", "another file"])
def test_another_set_is_looked_at_again(folder: Folder, change: str) -> None:
    root = folder()
    first = _read(root)
    _say(_kept(root)[0], "believed")
    victim = root / "ant" / "000.png"
    if change == "content":
        content = victim.read_bytes()
        times = victim.stat()
        victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "times":
        os.utime(victim)
    elif change == "name":
        victim.rename(root / "ant" / "000a.png")
    elif change == "another file":
        (root / "cat" / "more.png").write_bytes(victim.read_bytes())
    found = _read(root, size=9 if change == "form" else 8).fingerprint
    assert found != "believed"
    assert (found == first.fingerprint) == (change in ("content", "times", "name"))


def test_a_damaged_survey_is_no_survey(folder: Folder) -> None:
    root = folder()
    first = _read(root)
    (path,) = _kept(root)
    whole = path.read_bytes()
    for damaged in (b"", whole[:31], whole[:-1], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], b"\0" * len(whole)):
        path.write_bytes(damaged)
        assert _read(root).fingerprint == first.fingerprint
        assert path.read_bytes() == whole
    shorter = whole[32:-8]
    path.write_bytes(hashlib.sha256(shorter).digest() + shorter)
    assert _read(root).fingerprint == first.fingerprint


def test_files_that_were_just_written_are_looked_at_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "SETTLED_SECONDS", 3600.0)
    root = folder()
    _read(root)
    assert _kept(root) == []


def test_broken_images_are_remembered(folder: Folder) -> None:
    root = folder(per_class=40)
    (root / "bee" / "bad.png").write_bytes(b"no image")
    streamed = imagefolder(str(root), 8, 3, memory="stream", on_error="skip")
    assert len(_kept(root)) == 2  # of all files, and of those that can be read
    for path in _kept(root):
        _say(path, "believed")
    again = imagefolder(str(root), 8, 3, memory="stream", on_error="skip")
    assert again.fingerprint == "believed"
    assert len(again.train) == len(streamed.train)


def test_where_nothing_can_be_kept_the_images_are_looked_at_all_the_same(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = folder()
    first = _read(root)
    for place in ("/proc/none", str(root / "ant" / "000.png")):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        assert _read(root).fingerprint == first.fingerprint
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "other"))
    monkeypatch.setattr(os, "replace", _full_disk)
    with caplog.at_level(logging.WARNING):
        assert _read(root).fingerprint == first.fingerprint
    assert "must check the images again" in caplog.text


def _full_disk(*paths: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_long_look_says_how_far_it_is(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(survey, "PROGRESS_SECONDS", 0.0)
    with caplog.at_level(logging.WARNING):
        _read(folder())
    assert "checked 32 of 60 images" in caplog.text
    assert "checked 60 of 60 images" in caplog.text
