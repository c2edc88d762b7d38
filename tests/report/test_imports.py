from __future__ import annotations

import subprocess
import sys

HEAVY = "torch", "matplotlib", "numpy", "hydra", "pydantic"


def loaded(code: str) -> set[str]:
    """What a fresh interpreter has loaded after the code."""
    shown = f"{code}\nimport sys\nsys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_package_itself_loads_nothing() -> None:
    assert not loaded("import kdcli.report") & {*HEAVY, "rich"}


def test_no_module_of_the_package_loads_torch_or_matplotlib() -> None:
    code = "import importlib, kdcli.report, pkgutil\n"
    code += "for found in pkgutil.iter_modules(kdcli.report.__path__):\n"
    code += "    importlib.import_module('kdcli.report.' + found.name)"
    assert not loaded(code) & set(HEAVY)
