"""The tiny checkpoints of `saver.py`, which is a program too, and the disk of `power.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"checkpoint_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def saver() -> ModuleType:
    """`saver.py` as a module."""
    return _module("saver")


@pytest.fixture(scope="session")
def power() -> ModuleType:
    """`power.py` as a module."""
    return _module("power")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where a run keeps its checkpoints; nothing is there yet."""
    return tmp_path / "run" / "checkpoints"
