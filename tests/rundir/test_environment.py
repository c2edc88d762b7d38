from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch

from kdcli.git import git_state
from kdcli.rundir import describe_environment, environment


@pytest.fixture(autouse=True)
def as_in_a_new_process() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    environment._versions.cache_clear()
    git_state.cache_clear()


def test_versions_are_those_of_what_is_installed() -> None:
    versions = describe_environment("cpu")["versions"]
    assert isinstance(versions, dict)
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == torch.__version__
    assert set(versions) == {
        "python", "torch", "torchvision", "hydra-core", "omegaconf", "safetensors", "scikit-learn", "kdcli",
    }  # fmt: skip


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    versions = describe_environment("cpu")["versions"]
    assert isinstance(versions, dict)
    assert versions["torch"] is None


def test_it_is_json_and_says_the_device() -> None:
    description = describe_environment("cuda:0")
    assert json.loads(json.dumps(description)) == description
    assert description["device"] == "cuda:0"


def test_only_variables_that_change_results_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    description = describe_environment(None)
    assert "hunter2" not in json.dumps(description)
    assert isinstance(description["variables"], dict)
    assert description["variables"]["OMP_NUM_THREADS"] == "3"
    assert "SLURM_JOB_ID" not in description["variables"]


def _git(directory: Path, *arguments: str) -> str:
    identity = {
        f"GIT_{role}_{part}": "kd@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", *arguments], cwd=directory, env=os.environ | identity, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_revision_and_whether_files_differ_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    _git(tmp_path, "add", "a")
    _git(tmp_path, "commit", "-q", "-m", "first")
    revision = _git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("1")
    assert describe_environment(None)["git"] == {"revision": revision, "dirty": False}
    (tmp_path / "a").write_text("2")
    assert describe_environment(None)["git"] == {"revision": revision, "dirty": False}, "what this process has found"
    forget()
    assert describe_environment(None)["git"] == {"revision": revision, "dirty": True}


def test_outside_a_repository_and_without_git_there_is_no_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert describe_environment(None)["git"] is None
    forget()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_environment(None)["git"] is None


def test_a_repository_cannot_make_it_run_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    _git(tmp_path, "add", "a")
    script = tmp_path / "hook"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o755)
    _git(tmp_path, "config", "core.fsmonitor", str(script))
    describe_environment(None)
    assert not (tmp_path / "ran").exists()
    _git(tmp_path, "status")
    assert (tmp_path / "ran").exists()
