"""Who may import whom: the layers, and the few places that may use Hydra, rich and torchvision."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kdcli"
# Modules and packages of kdcli. Each imports only from its own layer and from those above it here.
LAYERS = (
    {*("errors", "extras", "strict", "processes", "failpoints", "disk", "git", "memory", "json_io", "yaml_io")}
    | {"schema", "schedules"},
    {"calibration", "bias", "metrics", "losses", "models", "data", "selection", "specialists", "synthetic"},
    {"teachers", "objective", "targets"},
    {"engine"},
    {
        "build",
        "build_method",
        "build_specialists",
        "checkpoint",
        "rundir",
        "selected",
        "trained",
        "transfer",
        "portable",
    },
    {"report", "trackers"},
    {"program"},
    {"studies"},
    {"commands"},
    {"__main__"},
)
LAYER = {name: depth for depth, names in enumerate(LAYERS) for name in names}
# Where these packages may be imported; some, besides, only inside functions.
ONLY_IN = {
    "hydra": {"schema", "commands"},
    "onnx": {"portable"},
    "onnxruntime": {"portable"},
    "timm": {"models"},
    "omegaconf": {"schema", "commands"},
    "rich": {"report"},
    "sklearn": {"selection"},
    "torchvision": {"models", "data"},
}
LATE = {"onnx", "onnxruntime", "sklearn", "timm", "torchvision"}


@dataclass(frozen=True)
class Import:
    """One imported module, in full, and whether the import stands inside a function."""

    module: str
    inside: bool
    line: int


def imports_of(tree: ast.AST, inside: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, inside, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "kdcli" else [node.module]
            yield from (Import(str(name), inside, node.lineno) for name in names)
        else:
            function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imports_of(node, inside or function)


def unit_of(path: Path) -> str:
    """The module or package of kdcli that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer_faults(unit: str, tree: ast.AST) -> list[str]:
    """The imports that break the layers."""
    faults = []
    for found in imports_of(tree):
        parts = found.module.split(".")
        if parts[0] == "kdcli" and len(parts) > 1 and parts[1] in LAYER and LAYER[parts[1]] > LAYER[unit]:
            faults.append(f"line {found.line}: {unit} imports {found.module}")
        if parts[0] in ONLY_IN and unit not in ONLY_IN[parts[0]]:
            faults.append(f"line {found.line}: {unit} imports {found.module}")
        if parts[0] in LATE and not found.inside:
            faults.append(f"line {found.line}: {parts[0]} outside a function")
    return faults


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def test_every_module_has_a_layer() -> None:
    assert {unit_of(path) for path in FILES} - set(LAYER) == set()


def test_imports_keep_the_layers() -> None:
    faults = {
        str(path.relative_to(PACKAGE)): found
        for path in FILES
        if (found := layer_faults(unit_of(path), ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert faults == {}


@pytest.mark.parametrize(
    ("unit", "source"),
    [
        ("losses", "from kdcli.engine import fit"),
        ("engine", "from kdcli import build"),
        ("build", "def f():\n    import kdcli.commands.train"),
        ("engine", "import hydra"),
        ("rundir", "from omegaconf import OmegaConf"),
        ("commands", "from rich.table import Table"),
        ("data", "import torchvision"),
        ("selection", "from sklearn.svm import SVC"),
        ("engine", "def f():\n    from torchvision import models"),
    ],
)
def test_the_check_finds_what_is_forbidden(unit: str, source: str) -> None:
    assert len(layer_faults(unit, ast.parse(source))) == 1


@pytest.mark.parametrize(
    ("unit", "source"),
    [
        ("engine", "from kdcli.losses import kd"),
        ("commands", "from kdcli.program import run"),
        ("commands", "import hydra"),
        ("data", "def f():\n    import torchvision"),
        ("schema", "from kdcli import __version__"),
    ],
)
def test_the_check_leaves_alone_what_is_allowed(unit: str, source: str) -> None:
    assert layer_faults(unit, ast.parse(source)) == []
