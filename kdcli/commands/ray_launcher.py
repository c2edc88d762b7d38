"""Launches programs as tasks of Ray, on this machine or on the nodes of a cluster.

The settings are those of Hydra's Ray plugin, which cannot be installed beside today's joblib, and which leaves the
other tasks alone when one of them is killed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import ray
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from kdcli.commands.sweep import Workers
from kdcli.errors import MachineError

_OF_A_NEW_ONE = ("num_cpus", "num_gpus", "include_dashboard")


class RayLauncher(Launcher):
    """Connects to Ray when it is made: only then it is known how many programs fit.

    Args:
        ray: ``init``, the arguments of ``ray.init``, and ``remote``, those of ``ray.remote``.

    Raises:
        MachineError: Ray does not start, or none of its nodes has what one program asks for.
    """

    def __init__(self, ray: DictConfig) -> None:
        settings = OmegaConf.to_container(OmegaConf.create(ray), resolve=True)
        assert isinstance(settings, dict)
        remote = {"max_retries": 0} | settings["remote"]
        self._run = _task(remote)
        elsewhere = _connect(settings["init"])
        self.workers = Workers(_places(remote), elsewhere=elsewhere)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives before the launch."""
        self._context = hydra_context
        self._task = task_function
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all tasks; what came of one that was killed, the records of its program tell."""
        state, numbered = Singleton.get_state(), enumerate(job_overrides, start=initial_job_idx)
        tasks = [self._run.remote(self._context, self._composed(*line), self._task, state) for line in numbered]
        while tasks:
            done, tasks = ray.wait(tasks)
            with suppress(ray.exceptions.RayError):
                ray.get(done)
        return []

    def _composed(self, index: int, overrides: Sequence[str]) -> DictConfig:
        config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(index)
            config.hydra.job.num = index
        return config


def _task(remote: dict[str, Any]) -> Any:
    return ray.remote(**remote)(_run)


def _run(context: HydraContext, config: DictConfig, task: TaskFunction, state: Any) -> JobReturn:
    """What a task does, in a process of Ray's."""
    setup_globals()
    Singleton.set_state(state)
    HydraConfig.instance().set_config(config)
    return run_job(
        hydra_context=context,
        task_function=task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def _connect(settings: dict[str, Any]) -> bool:
    """Join a Ray that runs, or start one; True where its nodes may be other machines."""
    joins = settings.get("address") is not None or "RAY_ADDRESS" in os.environ
    wanted = {key: value for key, value in settings.items() if not (joins and key in _OF_A_NEW_ONE)}
    try:
        ray.init(**wanted)
    except (ConnectionError, RuntimeError, ValueError) as problem:
        raise MachineError(
            f"Ray did not start or answer: {str(problem).splitlines()[0]}",
            where="hydra.launcher.ray.init",
            fix="see that a cluster runs at its address, or leave that out to start Ray on this machine",
        ) from problem
    return joins


def _places(remote: dict[str, Any]) -> int:
    """How many programs Ray's nodes have room for at a time."""
    asked = {"CPU": remote.get("num_cpus", 1), "GPU": remote.get("num_gpus", 0)}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = {kind: count for kind, count in asked.items() if count}
    places = sum(min((int(node.get(kind, 0) // asked[kind]) for kind in asked), default=1) for node in nodes)
    if places:
        return places
    ray.shutdown()
    has = "; ".join(f"a node with {node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes)
    raise MachineError(
        f"a program asks for {' and '.join(f'{count:g} {kind}' for kind, count in asked.items())}, and Ray has {has}",
        where="hydra.launcher.ray.remote",
        fix="lower hydra.launcher.ray.remote.num_cpus or num_gpus",
    )
