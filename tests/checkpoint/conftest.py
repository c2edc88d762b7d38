"""The tiny checkpoints of `saver.py`, which is a program too."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def saver() -> ModuleType:
    """`saver.py` as a module."""
    spec = importlib.util.spec_from_file_location("checkpoint_saver", Path(__file__).with_name("saver.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where a run keeps its checkpoints; nothing is there yet."""
    return tmp_path / "run" / "checkpoints"
