"""Who runs the programs of a sweep: Hydra's launchers, what each needs, and how many programs it runs at a time."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib import import_module

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

from kdcli.commands.conf_files import options
from kdcli.commands.sweep import HERE, Workers
from kdcli.commands.task import Task
from kdcli.errors import KDError, MachineError, UsageError
from kdcli.extras import need

# Hydra instantiates no plugin that is not named as if it were in this package.
_OURS = "hydra_plugins.kd."


@dataclass(frozen=True)
class Needs:
    """What a launcher needs.

    Args:
        extra: The extra of kdcli that brings its package.
        package: What must be importable.
        module: Where kd's own launcher is, if it is one.
        tool: A program that must be there.
        environment: Variables that the package reads when it is imported, where the user has not set them.
    """

    extra: str
    package: str
    module: str | None = None
    tool: str | None = None
    environment: tuple[tuple[str, str], ...] = ()


_JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
_SUBMITIT = "hydra_plugins.hydra_submitit_launcher"
NEEDS = {
    _JOBLIB: Needs("joblib", "hydra_plugins.hydra_joblib_launcher"),
    f"{_OURS}SubmititLocal": Needs("slurm", _SUBMITIT, "kdcli.commands.submitit_launcher"),
    f"{_OURS}SubmititSlurm": Needs("slurm", _SUBMITIT, "kdcli.commands.submitit_launcher", "sbatch"),
    f"{_OURS}RayLauncher": Needs(
        "ray",
        "ray",
        "kdcli.commands.ray_launcher",
        # Each line of each worker, without colour.
        environment=(("RAY_DEDUP_LOGS", "0"), ("RAY_COLOR_PREFIX", "0")),
    ),
}


def runs_here(launcher: Launcher) -> bool:
    """Whether it is Hydra's basic launcher; by name, as Hydra loads its plugins apart from what others import."""
    return type(launcher).__name__ == BasicLauncher.__name__


def install() -> None:
    """Let the files of ``conf/`` stand for the plugins' own options of the same names; again: nothing changes."""
    Plugins.instance()  # it registers those options
    store = ConfigStore.instance().repo["hydra"]["launcher"]
    for name in options("hydra/launcher"):
        store.pop(f"{name}.yaml", None)


def check(config: DictConfig) -> None:
    """Refuse the launcher that ``hydra/launcher=`` names if its package or program is missing.

    Raises:
        MachineError: With the extra to install.
    """
    needs = NEEDS.get(_target(config))
    if needs is None:
        return
    chosen = f"hydra/launcher={_name(config)}"
    need(chosen, needs.extra, needs.package, where=chosen)
    if needs.tool is not None and shutil.which(needs.tool) is None:
        fix = "start the sweep where jobs are submitted; here, hydra/launcher=joblib runs several programs at a time"
        raise MachineError(f"{chosen} needs {needs.tool}, which is not on this machine", where=chosen, fix=fix)


def _target(config: DictConfig) -> str:
    return str(config.hydra.launcher.get("_target_"))


def _name(config: DictConfig) -> str:
    return str(config.hydra.runtime.choices.get("hydra/launcher"))


def make_launcher(context: HydraContext, task: Task, config: DictConfig) -> Launcher:
    """The launcher that ``hydra/launcher=`` names, ready to launch.

    Raises:
        MachineError: Its engine does not start.
        UsageError: It does not know one of its settings.
    """
    target = _target(config)
    needs = NEEDS.get(target)
    if needs is not None and needs.module is not None:
        for name, value in needs.environment:
            os.environ.setdefault(name, value)
        own = getattr(import_module(needs.module), target.removeprefix(_OURS))
        Plugins.instance().class_name_to_class[target] = own
    try:
        return Plugins.instance().instantiate_launcher(context, task, config)
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, KDError):
            raise cause from error
        what = f"hydra/launcher={_name(config)} cannot be made: {str(cause).splitlines()[0]}"
        raise UsageError(
            what, where="hydra.launcher", fix="--cfg hydra -p hydra.launcher shows its settings"
        ) from error


def workers_of(launcher: Launcher) -> Workers:
    """How many programs a launcher runs at a time, and whether elsewhere; of one that kd does not know, nothing."""
    if runs_here(launcher):
        return HERE
    if hasattr(launcher, "joblib"):
        return Workers(_processes(launcher.joblib["n_jobs"]))
    own = getattr(launcher, "workers", None)
    return own if isinstance(own, Workers) else Workers(elsewhere=True)


def _processes(n_jobs: object) -> int:
    """How many processes joblib makes of ``n_jobs``: -1 is one for each CPU, -2 one less.

    Raises:
        UsageError: It makes nothing of it.
    """
    if not isinstance(n_jobs, int) or n_jobs == 0:
        what = f"hydra.launcher.n_jobs={n_jobs} is no number of processes"
        raise UsageError(what, where="hydra.launcher.n_jobs", fix="2 or more; -1: one for each CPU")
    return max(1, n_jobs if n_jobs > 0 else len(os.sched_getaffinity(0)) + 1 + n_jobs)
