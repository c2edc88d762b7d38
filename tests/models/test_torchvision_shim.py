from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kdcli
from kdcli.models.torchvision_shim import import_beside_torchvision


def in_fresh_process(code: str, path: Path) -> None:
    """Run ``code`` with warnings as errors and ``path`` before everything else on the import path."""
    root = Path(kdcli.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": f"{path}{os.pathsep}{root}"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_torchvision_imports_also_through_a_module_that_imports_it(tmp_path: Path) -> None:
    (tmp_path / "net_of_a_user.py").write_text("from torchvision.models import resnet18\n")
    code = """
from kdcli.models.torchvision_shim import import_beside_torchvision, import_torchvision
net = import_beside_torchvision("net_of_a_user")
torchvision = import_torchvision()
assert torchvision is import_torchvision()
assert torchvision.models.resnet18 is net.resnet18
import torch, torchvision.transforms.v2, torchvision.datasets
assert torch.ops.torchvision.nms and torch.ops.torchvision.qnms
"""
    in_fresh_process(code, tmp_path)


def test_nothing_is_declared_where_the_plain_import_works(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("mark = 1\n")
    code = """
import torch
from kdcli.models.torchvision_shim import import_torchvision
assert import_torchvision().mark == 1
assert not hasattr(torch.ops.torchvision, "nms")
"""
    in_fresh_process(code, tmp_path)


def test_importing_the_models_does_not_import_torchvision(tmp_path: Path) -> None:
    code = """
import sys
import kdcli.models
assert "torch" in sys.modules and "torchvision" not in sys.modules
kdcli.models.build_model("mlp", (4,), 2, {"hidden": [3]}, seed=0)
assert "torchvision" not in sys.modules
"""
    in_fresh_process(code, tmp_path)


def test_torchvision_that_is_not_installed_is_an_environment_error(tmp_path: Path) -> None:
    code = """
import sys
from kdcli.errors import MachineError
from kdcli.models.torchvision_shim import import_torchvision
sys.path.clear()
try:
    import_torchvision()
except MachineError as error:
    assert "torchvision is not installed" in error.what and "pip install" in error.fix
else:
    raise AssertionError
"""
    in_fresh_process(code, tmp_path)


def test_other_runtime_errors_of_an_import_pass_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_that_breaks.py").write_text("raise RuntimeError('out of luck')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="out of luck"):
        import_beside_torchvision("module_that_breaks")
