"""environment.json: what a run depended on besides its configuration."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

from kdcli.git import git_state

_PACKAGES = ("torch", "torchvision", "hydra-core", "omegaconf", "safetensors", "scikit-learn", "kdcli")
# Only these: the rest of the environment holds secrets.
_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_CPUS_PER_TASK",
    "SLURM_JOB_ID",
)


def describe_environment(device: str | None) -> dict[str, object]:
    """Versions, machine, git revision of the current directory, and the environment variables that change results.

    Versions and revision are those that this process found when it first asked: they are what it has imported.

    Args:
        device: What the run computes on, in words.
    """
    return {
        "device": device,
        "versions": {"python": platform.python_version()} | _versions(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "git": git_state(Path()),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


@cache
def _versions() -> dict[str, str | None]:
    return {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
