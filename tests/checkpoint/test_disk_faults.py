"""R3 and R5: system calls that fail while a checkpoint is saved."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kdcli.checkpoint import commit, load
from kdcli.errors import MachineError

_CALLS = ("open", "write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir")


class _Faults:
    """Lets the Nth call of any of `_CALLS`, or with `lasting` all from there on, fail with an errno."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int, code: int, *, lasting: bool) -> None:
        self.count = 0
        for name in _CALLS:
            patch.setattr(os, name, self._failing(getattr(os, name), number, code, lasting))

    def _failing(self, real: Callable[..., Any], number: int, code: int, lasting: bool) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == number or (lasting and self.count > number):
                raise OSError(code, os.strerror(code))
            return real(*args, **options)

        return call


@pytest.mark.parametrize(("code", "lasting"), [(errno.ENOSPC, True), (errno.EIO, False), (errno.EDQUOT, False)])
def test_whichever_call_fails_it_is_a_machine_error_and_nothing_is_lost(
    store: Path, saver: ModuleType, code: int, lasting: bool
) -> None:
    old = store.with_name("old")
    saver.save(old, 1)
    for number in range(1, 200):
        shutil.copytree(old, store)
        with pytest.MonkeyPatch.context() as patch:
            faults = _Faults(patch, number, code, lasting=lasting)
            failed = True
            with suppress(MachineError):
                saver.save(store, 2)
                failed = False
        loaded = load(store, fallback=False)
        assert saver.is_same(loaded, loaded.step)
        assert loaded.step == 2 or failed
        if faults.count < number:
            break
        shutil.rmtree(store)
    assert number > 40


def test_a_failed_commit_leaves_nothing_behind(store: Path, saver: ModuleType) -> None:
    saver.save(store, 1)
    with pytest.MonkeyPatch.context() as patch:
        _Faults(patch, 12, errno.ENOSPC, lasting=False)
        with pytest.raises(MachineError):
            commit(store, 2, *saver.content(2))
    assert sorted(path.name for path in store.iterdir()) == ["last.json", "step-000001"]


def test_a_full_disk_says_how_many_bytes_were_needed_and_are_free(store: Path, saver: ModuleType) -> None:
    saver.save(store, 1)
    size = (store / "step-000001" / "model.safetensors").stat().st_size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", _full)
        with pytest.raises(MachineError) as caught:
            commit(store, 2, *saver.content(2))
    assert f"{size:,} bytes needed" in caught.value.what
    assert "free)" in caught.value.what
    assert caught.value.where is not None
    assert caught.value.where.endswith("model.safetensors")
    assert caught.value.fix is not None
    assert "kd resume" in caught.value.fix


def _full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
