"""``kd doctor``: what it looks at, and that it finds what is wrong."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from kdcli import __version__
from kdcli.__main__ import main
from kdcli.commands import doctor
from kdcli.disk import cache_dir
from kdcli.engine import selftest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _checks(tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int) -> dict[str, dict[str, Any]]:
    assert main(["doctor", f"output_dir={tmp_path}", "--json"]) == code
    content = json.loads(capsys.readouterr().out)
    assert content["healthy"] == (code == 0)
    return {check["name"]: check for check in content["checks"]}


def test_a_healthy_machine_passes_and_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = _checks(tmp_path, capsys, 0)
    assert [check["fix"] for check in checks.values()] == [None] * len(checks)
    names = {text.split(">")[0] for text in PYPROJECT["project"]["dependencies"]}
    others = {"kd", "system", "python", "cache", "import", "device", "determinism", "disk", "write"}
    assert names | others == set(checks)
    assert "0 of " in checks["determinism"]["found"]
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_a_line_for_each_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", f"output_dir={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    marks = {line.split()[1]: line.split()[0] for line in lines}
    assert len(marks) == len(lines)
    extras = PYPROJECT["project"]["optional-dependencies"].keys() - {"test"}
    assert extras <= marks.keys()
    assert {mark for name, mark in marks.items() if name not in extras} == {"ok"}
    assert f"{torch.get_num_threads()} threads" in next(line for line in lines if "device" in line)


def test_it_says_which_kd_this_is_and_on_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = _checks(tmp_path, capsys, 0)
    assert checks["kd"]["found"].startswith(f"{__version__}, ")
    assert checks["system"]["found"] == platform.platform()
    assert checks["cache"]["found"] == f"downloads are kept in {cache_dir()}"


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="no checkout")
def test_of_a_checkout_it_says_the_revision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"git revision {said[:12]}" in _checks(tmp_path, capsys, 0)["kd"]["found"]


def test_the_repository_that_an_installed_kd_lies_in_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr("kdcli.__file__", str(tmp_path / "venv" / "kdcli" / "__init__.py"))
    found = {check.name: check.found for check in islice(doctor.examine(tmp_path), 1)}
    assert found == {"kd": f"{__version__}, no checkout of git"}


def test_an_extra_that_is_missing_is_named_and_nothing_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"onnx": "1.20.0", "onnxruntime": "1.5"}

    def version(name: str, real: Any = metadata.version) -> str:
        if name == "onnxscript":
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or str(real(name))

    monkeypatch.setattr(metadata, "version", version)
    assert main(["doctor", f"output_dir={tmp_path}", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {each["name"]: each for each in content["extras"]}["onnx"] == {
        "name": "onnx",
        "found": "onnx 1.20.0, onnxruntime 1.5 (wanted: <2,>=1.24); not installed: onnxscript",
        "fix": "pip install -U 'kdcli[onnx]'",
    }
    assert main(["doctor", f"output_dir={tmp_path}"]) == 0
    assert "-       onnx          onnx 1.20.0" in capsys.readouterr().out


def test_a_redacted_table_names_none_of_the_users_directories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "of mine").mkdir()
    for words, named in ((["doctor"], True), (["doctor", "--redact"], False)):
        assert main([*words, f"output_dir={tmp_path}/of mine/later"]) == 0
        assert (str(tmp_path) in capsys.readouterr().out) == named
    assert main(["doctor", "--redact", "--json", f"output_dir={tmp_path}/of mine"]) == 0
    said = capsys.readouterr().out
    assert "of mine" not in said
    assert "free at OUTPUT_DIR" in said
    assert "downloads are kept in CACHE_DIR" in said
    monkeypatch.setenv("XDG_CACHE_HOME", "/nowhere/of mine")
    assert main(["doctor", "--redact", f"output_dir={tmp_path}/of mine"]) == 0
    said = capsys.readouterr().out
    assert "of mine" not in said
    assert "downloads are kept in CACHE_DIR" in said


def test_a_package_below_its_floor_is_named_with_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "2.5.1" if name == "torch" else real(name))
    checks = _checks(tmp_path, capsys, 6)
    assert [name for name, check in checks.items() if check["fix"]] == ["torch"]
    assert checks["torch"]["fix"] == "pip install -U 'torch>=2.11'"


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str, real: Any = metadata.version) -> str:
        if name == "rich":
            raise metadata.PackageNotFoundError(name)
        return str(real(name))

    monkeypatch.setattr(metadata, "version", version)
    assert _checks(tmp_path, capsys, 6)["rich"]["found"].startswith("not installed")


def test_a_place_that_cannot_be_written_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = _checks(Path("/proc/outputs"), capsys, 6)
    assert {name for name, check in checks.items() if check["fix"]} == {"disk", "write"}


def test_a_full_disk_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "free_bytes", lambda folder: 2**29)
    assert main(["doctor", f"output_dir={tmp_path}"]) == 6
    said = capsys.readouterr()
    assert "FAILED  disk" in said.out
    assert "free some space" in said.err


def test_a_training_that_does_not_repeat_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = iter([1, 2])
    real = selftest.make_bank
    monkeypatch.setattr(selftest, "make_bank", lambda nets, _, device, **how: real(nets, [next(seeds)], device, **how))
    assert "run with device=cpu" in _checks(tmp_path, capsys, 6)["determinism"]["fix"]


def test_another_argument_is_refused() -> None:
    assert main(["doctor", "now"]) == 2
