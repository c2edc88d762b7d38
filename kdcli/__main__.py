"""The front end: what ``kd`` and ``kdcli`` run.

Only the standard library is imported until a valid command is known, so that help and refusals come at once.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from kdcli import __version__
from kdcli.commands import COMMANDS, Command
from kdcli.commands.flags import Flags, Line, parse_line
from kdcli.errors import MachineError, UsageError
from kdcli.program.signals import terminable


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return the exit code of the process."""
    argv = sys.argv[1:] if argv is None else argv
    _open_closed_streams()
    # Read when torch is loaded: threads that spin for long where they wait made a training four times slower beside
    # another process; those that sleep at once make it slower alone.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    # Imports make a hundred thousand objects that stay; looking through them again and again took a tenth of a start.
    gc.set_threshold(100_000, 20, 20)
    if argv[:1] == ["__complete"]:
        from kdcli.commands.completion import answer

        return answer(argv[1:])
    if _of_several():
        return _run_with_others(argv)
    return _run(argv)


def _of_several() -> bool:
    """Whether torchrun, or what does as it does, has started this process beside others."""
    there = all(name in os.environ for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    return there and os.environ["WORLD_SIZE"] != "1"


def _run_with_others(argv: list[str]) -> int:
    try:
        from kdcli.program.several import carry_out

        return carry_out(lambda: _run(argv))
    except (Exception, KeyboardInterrupt) as error:
        from kdcli.commands.screen import show_error

        return show_error(error, color=False, debug="--debug" in argv)


def _run(argv: list[str]) -> int:
    flags = Flags()
    try:
        line = parse_line(argv)
        flags = line.flags
        with terminable():
            code = _dispatch(line)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _reader_is_gone()
    except (Exception, KeyboardInterrupt) as error:
        from kdcli.commands.screen import show_error

        return show_error(error, color=flags.color, debug=flags.debug)


def _open_closed_streams() -> None:
    """Let what nobody wants to read go nowhere: a file opened later must not take the place of stdout."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _dispatch(line: Line) -> int:
    if line.version:
        sys.stdout.write(f"kd {__version__}\n")
        return 0
    if not line.words:
        from kdcli.commands.help import show_overview

        return show_overview(full=line.help)
    command = _command(line.words[0])
    arguments = line.words[1:]
    if line.help:
        from kdcli.commands.help import show_command

        return show_command(command, line.hydra)
    _check_taken(line.special, command, command.flags)
    if command.composed:
        from kdcli.commands.hydra_app import run_hydra

        return run_hydra(command.name, [*arguments, *line.hydra], line.flags)
    _check_taken(line.hydra, command, command.hydra_flags)
    words = [*arguments, *line.hydra, *line.special]
    code: int = import_module(f"kdcli.commands.{command.module}").run(words, line.flags)
    return code


def _check_taken(given: list[str], command: Command, taken: tuple[str, ...]) -> None:
    for flag in (word.partition("=")[0] for word in given):
        if flag not in taken:
            raise UsageError(f"kd {command.name} does not take {flag}", where=flag, fix=f"see kd {command.name} --help")


def _command(name: str) -> Command:
    if name in COMMANDS:
        return COMMANDS[name]
    from kdcli.commands.nearest import did_you_mean

    hint = did_you_mean(name, COMMANDS)
    raise UsageError(f"unknown command {name!r}{hint}", where=name, fix=f"commands: {', '.join(COMMANDS)}")


def _reader_is_gone() -> int:
    """Say nothing more: whoever read our output has closed it, and the interpreter must not trip over it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return MachineError.exit_code


def console() -> NoReturn:
    """Run as a process of its own, and leave at once: to take apart what torch has loaded costs half a second.

    Not where other threads have to be waited for.
    """
    code = main()
    if threading.active_count() > 1:
        sys.exit(code)
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    console()
