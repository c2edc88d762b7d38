"""What the wheel carries, and what is declared."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_declared_package_is_pinned_within_its_range() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pinned = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    for declared in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]:
        name, low = re.match(r"([A-Za-z0-9-]+)>=([0-9.]+)", declared).groups()
        floor = [int(part) for part in low.split(".")]
        assert [int(part) for part in pinned[name.lower()].split(".")[: len(floor)]] >= floor, declared


def test_pins_name_no_build() -> None:
    assert "+" not in (ROOT / "constraints.txt").read_text()


@pytest.mark.slow
@pytest.mark.network
def test_the_wheel_carries_configuration_data_and_types(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    carried = [path.relative_to(ROOT) for path in (ROOT / "conf").rglob("*.yaml")]
    assert {f"kdcli/{path.as_posix()}" for path in carried} <= names
    files = [path.relative_to(ROOT) for path in (ROOT / "kdcli" / "data" / "files").rglob("*") if path.is_file()]
    assert {path.as_posix() for path in files} <= names
    assert "kdcli/py.typed" in names
    assert not any(name.startswith(("tests/", "conf/")) or "cache" in name for name in names)
