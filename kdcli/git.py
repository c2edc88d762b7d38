"""What git says of a directory."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

_SECONDS = 2.0


@cache
def git_state(folder: Path) -> dict[str, object] | None:
    """Revision, and whether tracked files differ from it; None outside a repository or without git.

    Both are those that this process found when it first asked: they are of what it has imported.

    Args:
        folder: A directory of the repository.
    """
    # A repository's own settings can name programs for git to run; this turns off the one that `status` would.
    command = ["git", "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            check=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    revision = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), None)
    return {"revision": revision, "dirty": any(not line.startswith("#") for line in lines)}
