"""An error as one screen on stderr: what, where, what to do. Plain text, standard library only."""

from __future__ import annotations

import sys
import traceback
from typing import TextIO

from kdcli.errors import KDError, MachineError, why_stopped

_DIRECTIONS = "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_ESCAPED = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)] if code != 10}
_ESCAPED |= {ord(mark): f"\\u{ord(mark):04x}" for mark in _DIRECTIONS}
_NO_MEMORY = "can't allocate memory"
_ALLOCATOR = "Allocator: "


def escape_controls(text: str) -> str:
    r"""Make control characters and changes of direction visible (``\x1b``); line ends stay."""
    return text.translate(_ESCAPED)


def as_kd_error(error: BaseException) -> KDError:
    """The error in kd's own terms, with its exit code."""
    if isinstance(error, KDError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return why_stopped(error)
    if isinstance(error, OSError):
        return _machine_error(error)
    if _lacked_memory(error):
        fix = "choose a smaller batch_size, of a sweep sweep.members_max=4; --dry-run says what a run needs"
        said = str(error).rpartition(_ALLOCATOR)[2].splitlines()
        return MachineError(": ".join(["the memory does not suffice", *said[:1]]), fix=fix)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("kdcli"):
        return MachineError(f"the package {error.name} is not installed", fix="install kd again, with its dependencies")
    return KDError(
        f"a bug of ours: {type(error).__name__}: {error}",
        where=_last_place(error),
        fix="run the same line with --debug and report what it prints",
    )


def _lacked_memory(error: BaseException) -> bool:
    """Python's own error, that of a GPU, or what torch says of a CPU's."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _NO_MEMORY in str(error)


def _machine_error(error: OSError) -> MachineError:
    path = None if error.filename is None else str(error.filename)
    fix = "check that the path can be read and written, and that the disk has room"
    return MachineError(error.strerror or str(error) or type(error).__name__, where=path, fix=fix)


def _last_place(error: BaseException) -> str | None:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "kdcli" in frame.filename] or frames
    return f"{own[-1].filename}:{own[-1].lineno} in {own[-1].name}" if own else None


def show_error(error: BaseException, *, color: bool, debug: bool, stream: TextIO | None = None) -> int:
    """Print the error to ``stream`` (stderr) and return its exit code."""
    stream = stream or sys.stderr
    shown = as_kd_error(error)
    bold = color and stream.isatty()
    lines = [("\x1b[1merror:\x1b[0m " if bold else "error: ") + _indented(shown.what, 7)]
    if shown.where:
        lines.append("where: " + _indented(shown.where, 7))
    if shown.fix:
        lines.append("   do: " + _indented(shown.fix, 7))
    if debug:
        lines.insert(0, escape_controls("".join(traceback.format_exception(error))).rstrip("\n"))
    stream.write("\n".join(lines) + "\n")
    stream.flush()
    return shown.exit_code


def _indented(text: str, width: int) -> str:
    return ("\n" + " " * width).join(escape_controls(text).split("\n"))
