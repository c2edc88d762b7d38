"""Runs a command whose configuration Hydra composes: single runs, sweeps (``-m``), ``--cfg`` and ``--info``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import _run_hydra, create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra

from kdcli.commands import numeric_options, sweeper
from kdcli.commands.conf_files import conf_dir
from kdcli.commands.flags import Flags
from kdcli.commands.override_errors import explain
from kdcli.commands.request import Request
from kdcli.commands.task import Task
from kdcli.errors import KDError, UsageError
from kdcli.program.signals import undivided

_QUIET = ("hydra/job_logging=none", "hydra/hydra_logging=none")
_OURS = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra.sweep.dir=.", "hydra.sweep.subdir=.")


def run_hydra(command: str, args: list[str], flags: Flags) -> int:
    """Compose, check and run one command line.

    Args:
        command: A composed command's name.
        args: ``key=value`` overrides and Hydra's own flags in their long form.
        flags: How the command behaves.

    Returns:
        The exit code.

    Raises:
        UsageError: What the line asks for does not exist or is out of range.
    """
    request = Request.of(command, args)
    return run_task(request, Task(request, flags))


def run_task(request: Request, task: Task) -> int:
    """Compose, check and run what a task is asked for; returns the exit code, and raises as `run_hydra` does."""
    prepare()
    try:
        printed = any(request.flag(name) is not None for name in ("--cfg", "--info", "--hydra-help"))
        with undivided():
            (_print_with_hydra if printed and not task.shows_job else _compose_and_call)(request, task)
    except SystemExit as asked:
        return UsageError.exit_code if asked.code else 0
    except KDError:
        raise
    except Exception as error:
        if task.started:
            raise
        raise explain(error, request) from error
    if task.error is not None:
        raise task.error
    return task.exit_code


def prepare() -> None:
    """Teach Hydra, in this process, numbers as options and kd's sweeper; a second call changes nothing."""
    version.setbase("1.3")
    numeric_options.install()
    sweeper.install()


def _compose_and_call(request: Request, task: Task) -> None:
    """Compose once and call the task, or for ``-m`` the sweeper; hydra.main composes twice, to ask for its mode."""
    search_path = create_config_search_path(str(conf_dir()))
    for directory in request.config_dirs:
        place = SearchPathQuery(provider="schema")
        search_path.prepend("command-line", f"file://{directory.resolve()}", anchor=place)
    hydra = Hydra.create_main_hydra2("kd", search_path)
    sweeps = request.flag("--multirun") is not None
    mode = f"hydra.mode={'MULTIRUN' if sweeps else 'RUN'}"
    overrides = [*_QUIET, *request.overrides, f"hydra/sweeper={task.sweeper}", *_OURS, mode]
    try:
        (hydra.multirun if sweeps else hydra.run)(request.primary, task, overrides)
    finally:
        GlobalHydra.instance().clear()


def _print_with_hydra(request: Request, task: Task) -> None:
    """Let Hydra itself print what it is asked for: ``--info``, ``--cfg hydra``, ``--hydra-help``."""
    with lenient_argparse():
        parser = get_args_parser()
    # The overrides stand together: argparse would lose those behind a flag.
    sweeper = f"hydra/sweeper={task.sweeper}"
    arguments = parser.parse_args([*_QUIET, *request.overrides, sweeper, *_OURS, *request.hydra_flags])
    # Hydra then raises what goes wrong instead of printing it and leaving.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    _run_hydra(arguments, parser, task, str(conf_dir()), request.spec.config_name)


@contextmanager
def lenient_argparse(python: tuple[int, ...] = sys.version_info[:2]) -> Iterator[None]:
    """Let Hydra 1.3 build its parser on Python 3.14, whose argparse refuses a help text that Hydra makes lazily."""
    if python < (3, 14):
        yield
        return
    check = argparse.ArgumentParser._check_help  # type: ignore[attr-defined]
    argparse.ArgumentParser._check_help = lambda self, action: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        argparse.ArgumentParser._check_help = check  # type: ignore[attr-defined]
