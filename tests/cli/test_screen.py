"""How an error looks, and the exit code that goes with it."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import pytest
import torch

from kdcli.commands.screen import show_error
from kdcli.errors import (
    CheckpointError,
    DataError,
    DivergedError,
    Interrupted,
    KDError,
    MachineError,
    SweepError,
    Terminated,
    UsageError,
)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(error: BaseException, *, color: bool = True, debug: bool = False) -> tuple[int, str]:
    stream = io.StringIO()
    return show_error(error, color=color, debug=debug, stream=stream), stream.getvalue()


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (DataError("x"), 3),
        (CheckpointError("x"), 4),
        (DivergedError("x"), 5),
        (MachineError("x"), 6),
        (SweepError("x"), 7),
        (Interrupted("x"), 130),
        (Terminated("x"), 143),
        (KDError("x"), 1),
        (OSError(errno.ENOSPC, "No space left on device", "/full"), 6),
        (KeyboardInterrupt(), 130),
        (ModuleNotFoundError("no torch", name="torch"), 6),
        (ModuleNotFoundError("no module", name="kdcli.nowhere"), 1),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert shown(error)[0] == code


def test_what_where_and_what_to_do_stand_below_each_other() -> None:
    error = UsageError("alpha = 1.5 is out of range", where="alpha", fix="choose from [0, 1]")
    assert shown(error)[1] == "error: alpha = 1.5 is out of range\nwhere: alpha\n   do: choose from [0, 1]\n"


def test_an_error_of_the_system_names_the_path() -> None:
    assert "where: /full\n" in shown(OSError(errno.ENOSPC, "No space left on device", "/full"))[1]


def test_too_little_memory_is_no_bug_of_ours() -> None:
    with pytest.raises(RuntimeError) as failure:
        torch.empty(2**50)
    code, text = shown(failure.value)
    assert code == 6
    assert text.startswith("error: the memory does not suffice: can't allocate memory: you tried to allocate")
    assert "do: choose a smaller batch_size" in text
    assert shown(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))[0] == 6
    assert shown(MemoryError())[0] == 6
    assert shown(RuntimeError("something else"))[0] == 1


def test_control_characters_and_changes_of_direction_are_made_visible() -> None:
    text = shown(UsageError("a\x1b[31mb\rc\x9bd\u202ee\x00", where="\x07"))[1]
    assert "a\\x1b[31mb\\x0dc\\x9bd\\u202ee\\x00" in text
    assert "where: \\x07" in text
    assert all(character == "\n" or character.isprintable() for character in text)


def test_markup_is_printed_as_it_is() -> None:
    assert "error: no file [/red] [id]\n" in shown(UsageError("no file [/red] [id]"))[1]


def test_further_lines_are_indented() -> None:
    assert shown(UsageError("first\nsecond"))[1] == "error: first\n       second\n"


def test_a_bug_says_so_and_where() -> None:
    code, text = shown(raised(ZeroDivisionError("division by zero")))
    assert code == 1
    assert text.startswith("error: a bug of ours: ZeroDivisionError: division by zero\n")
    assert "test_screen.py:" in text
    assert "--debug" in text
    assert "Traceback" not in text


def test_the_traceback_comes_with_debug_only_and_before_the_error() -> None:
    text = shown(raised(UsageError("x")), debug=True)[1]
    assert text.startswith("Traceback")
    assert text.endswith("\nerror: x\n")


@pytest.mark.parametrize(("color", "bold"), [(True, True), (False, False)])
def test_bold_only_on_a_terminal_that_may(color: bool, bold: bool) -> None:
    terminal = _Terminal()
    show_error(UsageError("x"), color=color, debug=False, stream=terminal)
    assert ("\x1b[1m" in terminal.getvalue()) is bold
    assert "\x1b" not in shown(UsageError("x"), color=True)[1]


def test_a_reader_that_closes_early_is_no_error_message() -> None:
    script = "import sys; from kdcli.__main__ import main; sys.stdin.readline(); sys.exit(main(['--help']))"
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=write, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(write)
        os.close(read)
        _, err = process.communicate("go\n", timeout=60)
    assert (process.returncode, err) == (6, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_under_stdout_is_reported() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kdcli", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 6
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
