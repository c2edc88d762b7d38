"""``kd resume SWEEP hydra/launcher=...``: a launcher runs what is left of a sweep, as it does with ``-m``."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from kdcli.commands import sweep
from kdcli.commands.flags import Flags
from kdcli.commands.hydra_app import run_task
from kdcli.commands.request import Request
from kdcli.commands.sweeper import KdSweeper
from kdcli.commands.task import Task
from kdcli.errors import CheckpointError
from kdcli.rundir import RunDir
from kdcli.rundir.find import TRAININGS

# Hydra instantiates no plugin that is not named as if it were in this package.
_TARGET = "hydra_plugins.kd.KdResumer"


class ResumeTask(Task):
    """The task of a sweep that goes on.

    Args:
        request: The sweep's command, with the launcher and its settings.
        flags: How the command behaves.
        home: The sweep.
    """

    sweeper = "kd_resume"

    def __init__(self, request: Request, flags: Flags, home: RunDir) -> None:
        super().__init__(request, flags)
        self.home = home


class KdResumer(KdSweeper):
    """Hands the launcher the programs that are not done."""

    def carry_out(self, arguments: list[str]) -> None:
        """Finish the sweep; the task then holds its exit code.

        Raises:
            UsageError: Another process is working in it.
            SweepError: Some jobs did not finish.
            Interrupted: It was asked to stop.
        """
        task = self._task
        assert isinstance(task, ResumeTask)
        task.started = True
        from kdcli.program.sweep import is_done

        started = sweep.open_sweep(task.home)
        with started.held:
            left = [program for program in started.programs if not is_done(task.home, program)]
            if left:
                # What a run trains on stands in its own files, of which Hydra is told nothing.
                self._launch([], left)
            task.exit_code = sweep.finish(started, task.flags)


def relaunch(home: RunDir, launcher: Sequence[str], flags: Flags) -> int:
    """Bring a sweep to its end with a launcher; the exit code.

    Args:
        home: The sweep.
        launcher: ``hydra/launcher=...`` and settings of it.
        flags: How.
    """
    command = home.config().get("command")
    if command not in TRAININGS:
        raise CheckpointError(f"{str(command)[:80]!a} is no training", where=f"{home.path}/config.yaml: command")
    Plugins.instance().class_name_to_class[_TARGET] = KdResumer
    node = {"_target_": _TARGET, "params": None}
    ConfigStore.instance().store(group="hydra/sweeper", name=ResumeTask.sweeper, node=node, provider="kd")
    request = Request.of(command, [*launcher, "--multirun"])
    return run_task(request, ResumeTask(request, flags, home))
