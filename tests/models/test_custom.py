from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kdcli.errors import UsageError
from kdcli.models import build_model
from kdcli.models.custom import load_factory


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(target: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_factory(target)
    assert caught.value.where == "model.target"
    return caught.value


def test_factory_of_an_installed_package_is_found() -> None:
    import json.decoder

    assert load_factory("json.decoder:JSONDecoder") is json.decoder.JSONDecoder


def test_factory_in_the_current_directory_is_found_and_the_import_path_restored(here: Path) -> None:
    (here / "net_here.py").write_text("import helper_here\ndef build(): return helper_here.answer\n")
    (here / "helper_here.py").write_text("answer = 42\n")
    before = list(sys.path)
    assert load_factory("net_here:build")() == 42
    assert sys.path == before


def test_factory_in_a_package_of_the_current_directory_is_found(here: Path) -> None:
    (here / "package_here").mkdir()
    (here / "package_here" / "nets.py").write_text("def build(): return 1\n")
    assert load_factory("package_here.nets:build")() == 1


@pytest.mark.parametrize(
    "target", ["", "module", "module:", ":name", "a:b:c", "a/b.py:build", "a..b:c", "a.b:c.d", "a b:c", "1a:b", "a:b\n"]
)
def test_malformed_target_is_refused_with_the_form(target: str) -> None:
    error = refusal(target)
    assert repr(target) in error.what
    assert "package.module:factory" in str(error.fix)


def test_missing_module_is_named_with_the_directory(here: Path) -> None:
    error = refusal("no_such_module_anywhere:build")
    assert "no_such_module_anywhere" in error.what
    assert str(here) in str(error.fix)


def test_module_that_the_users_module_misses_is_the_one_named(here: Path) -> None:
    (here / "net_that_needs.py").write_text("import package_that_is_missing\n")
    assert "package_that_is_missing" in refusal("net_that_needs:build").what


def test_import_path_is_restored_after_a_failed_import(here: Path) -> None:
    before = list(sys.path)
    refusal("no_such_module_anywhere:build")
    assert sys.path == before


def test_module_that_breaks_while_imported_is_refused_with_its_error(here: Path) -> None:
    (here / "net_with_a_slip.py").write_text("def build(:\n")
    assert "SyntaxError" in refusal("net_with_a_slip:build").what


def test_missing_attribute_lists_the_public_ones(here: Path) -> None:
    (here / "net_of_two.py").write_text("size = 3\ndef small(): ...\nclass Large: ...\ndef _hidden(): ...\n")
    error = refusal("net_of_two:medium")
    assert "'medium'" in error.what
    assert error.fix == "it has Large, small"


def test_missing_attribute_of_a_large_module_lists_the_first_only(here: Path) -> None:
    (here / "net_of_many.py").write_text("".join(f"def net{i:02}(): ...\n" for i in range(21)))
    fix = str(refusal("net_of_many:build").fix)
    assert "net19 and others" in fix
    assert "net20" not in fix


def test_module_without_anything_public_says_so(here: Path) -> None:
    (here / "net_of_none.py").write_text("size = 3\n")
    assert "no public function" in str(refusal("net_of_none:build").fix)


def test_attribute_that_cannot_be_called_is_refused_with_its_type(here: Path) -> None:
    (here / "net_that_is_not.py").write_text("build = {'a': 1}\n")
    assert "is a dict" in refusal("net_that_is_not:build").what


@pytest.mark.parametrize("code", ["import sys\nsys.exit(0)\n", "import sys\ndef build(**_):\n    sys.exit(0)\n"])
def test_a_module_that_leaves_is_refused_and_kd_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    name = f"leaver_{len(code)}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="SystemExit"):
        build_model("custom", (4,), 3, {"target": f"{name}:build"}, seed=0)
