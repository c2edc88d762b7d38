"""``kd doctor``: what it looks at, and that it finds what is wrong."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from kdcli.__main__ import main
from kdcli.commands import doctor
from kdcli.engine import selftest

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())


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
    assert names | {"python", "import", "device", "determinism", "disk", "write"} == set(checks)
    assert "0 of " in checks["determinism"]["found"]
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_a_line_for_each_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", f"output_dir={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * len(lines)
    assert f"{torch.get_num_threads()} threads" in next(line for line in lines if "device" in line)


def test_a_redacted_table_names_none_of_the_users_directories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "of mine").mkdir()
    for words, named in ((["doctor"], True), (["doctor", "--redact"], False)):
        assert main([*words, f"output_dir={tmp_path}/of mine/later"]) == 0
        assert (str(tmp_path) in capsys.readouterr().out) == named
    assert main(["doctor", "--redact", "--json", f"output_dir={tmp_path}/of mine"]) == 0
    said = capsys.readouterr().out
    assert "of mine" not in said
    assert "free at OUTPUT_DIR" in said


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
