"""Exported networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdcli.__main__ import main
from kdcli.rundir import RunDir


@pytest.fixture(scope="session")
def onnx_file(tiny_teacher: RunDir, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_teacher`` as ONNX, with the JSON beside it; shared, so copy it before you change it."""
    pytest.importorskip("onnxscript")
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    assert main(["export", str(tiny_teacher.path), f"file={path}", "--quiet"]) == 0
    return path
