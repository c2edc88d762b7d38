"""What Hydra calls with a composed configuration: here for a single run, perhaps elsewhere for a program of a sweep."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from kdcli.commands import composed, workers
from kdcli.commands.flags import Flags
from kdcli.commands.request import Request
from kdcli.commands.workers import Origin
from kdcli.errors import Interrupted, Stopped, UsageError
from kdcli.program.signals import divisible, undivided

PROGRAM_KEY = "kd_program"


class Task:
    """The task function of one command line, and afterwards what came out of it.

    A launcher may pickle it into another process, where the request and the flags arrive with it.

    Args:
        request: What was asked for.
        flags: How the command behaves.
        origin: The process of the command line; None where this is it.
    """

    sweeper = "kd"
    """Hydra's name of the sweeper that sees to its jobs, if there are several."""

    def __init__(self, request: Request, flags: Flags, *, origin: Origin | None = None) -> None:
        self.request = request
        self.flags = flags
        self.origin = origin
        self.started = False
        self.exit_code = 0
        self.error: Exception | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """Arrive in another process with Hydra prepared there."""
        return (_arrive, (self.request, self.flags, self.origin or Origin.here()))

    @property
    def shows_job(self) -> bool:
        """The line asks for ``--cfg job``, which is checked before it is printed, as Hydra's own would not be."""
        return self.request.flag("--cfg") == "job"

    @divisible()
    def __call__(self, config: DictConfig) -> int:
        """Run a program of a sweep, or the single job of the command line, whose error is kept for the caller."""
        self.started = True
        if PROGRAM_KEY in config:
            return self._run_program(Path(config[PROGRAM_KEY]))
        try:
            self.exit_code = self._show(config) if self.shows_job else self._run(config)
        except Exception as error:
            self.error = error
        return self.exit_code

    def _run(self, config: DictConfig) -> int:
        launcher = HydraConfig.get().runtime.choices.get("hydra/launcher", "basic")
        if launcher != "basic":
            what = f"hydra/launcher={launcher} runs the programs of a sweep"
            raise UsageError(what, where="hydra/launcher", fix="add -m, for one job too")
        with undivided():
            typed = composed.typed(composed.plain_data(config), self.request)
            overrides = [str(override) for override in HydraConfig.get().overrides.task]
        module = import_module(f"kdcli.commands.{self.request.spec.module}")
        code: int = module.run(typed, overrides, self.flags)
        return code

    @undivided()
    def _show(self, config: DictConfig) -> int:
        composed.check_shown(config, self.request)
        if self.request.flag("--resolve") is not None:
            composed.missing_keys(config)
            OmegaConf.resolve(config)
        package = self.request.flag("--package")
        part = OmegaConf.select(config, package) if package else config
        if part is None:
            raise UsageError(f"no part {package!r} in the configuration", where="--package", fix="name a group or key")
        sys.stdout.write(OmegaConf.to_yaml(part) if OmegaConf.is_config(part) else f"{part}\n")
        return 0

    def _run_program(self, path: Path) -> int:
        """Train one program; its failure is shown and must not stop the others, an interruption stops them all."""
        if self.origin is not None:
            return workers.run(path, self.flags, self.origin)
        from kdcli.commands import sweep
        from kdcli.commands.screen import show_error

        try:
            return sweep.run_program(path, self.flags)
        except Interrupted as stopped:  # past Hydra, which would go on with the next one
            raise Stopped(stopped) from stopped
        except Exception as error:
            return show_error(error, color=self.flags.color, debug=self.flags.debug)


def _arrive(request: Request, flags: Flags, origin: Origin) -> Task:
    from kdcli.commands.hydra_app import prepare

    prepare()
    return Task(request, flags, origin=origin)
