"""Checkpoints that are whole or not there: committed atomically, verified before they are parsed, never pickled."""

from __future__ import annotations

from kdcli.checkpoint.audit import Problem, verify
from kdcli.checkpoint.layout import Pointer, PointerName, has_commits
from kdcli.checkpoint.loading import Loaded, check_finite, load
from kdcli.checkpoint.pruning import prune, tidy
from kdcli.checkpoint.read import read_pointer
from kdcli.checkpoint.write import commit, point

__all__ = [
    "Loaded",
    "Pointer",
    "PointerName",
    "Problem",
    "check_finite",
    "commit",
    "has_commits",
    "load",
    "point",
    "prune",
    "read_pointer",
    "tidy",
    "verify",
]
