"""environment.json: what a run depended on besides its configuration."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata

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
_GIT_SECONDS = 2.0


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
        "git": _git(),
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


@cache
def _git() -> dict[str, object] | None:
    """Revision, and whether tracked files differ from it; None outside a repository or without git."""
    # A repository's own settings can name programs for git to run; this turns off the one that `status` would.
    command = ["git", "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=True,
            timeout=_GIT_SECONDS,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    revision = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), None)
    return {"revision": revision, "dirty": any(not line.startswith("#") for line in lines)}
