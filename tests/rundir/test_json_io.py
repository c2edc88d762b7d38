from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcli.errors import CheckpointError, DataError, MachineError
from kdcli.json_io import parse_json, read_json, write_json_atomic

_settings = settings(max_examples=100, deadline=None, database=None)
_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("{} {}", "Extra data"),
        ("{'a': 1}", "Expecting property name"),
        ('{"a": 1, "a": 1}', "key 'a' appears twice"),
        ('[{"x": {"b": 1, "b": 2}}]', "key 'b' appears twice"),
        ("NaN", "NaN is not a number"),
        ("-Infinity", "-Infinity is not a number"),
        ("1e999", "too large"),
        ("9" * 41, "41 digits"),
        ('"\\ud800"', "surrogates not allowed"),
        ('{"\\udfff": 1}', "surrogates not allowed"),
        ("[" * 65 + "]" * 65, "nested deeper than 64"),
        ("[" * 200_000, "not valid JSON"),
        ("\ufeff{}", "BOM"),
        ('"\0"', "control character"),
    ],
)
def test_what_is_not_strict_json_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        parse_json(text.encode(), where="run.json")
    assert caught.value.where == "run.json"


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(CheckpointError, match="utf-8"):
        parse_json(b'"\xff"', where="run.json")


def test_nesting_up_to_the_limit_is_read() -> None:
    assert parse_json(b"[" * 64 + b"]" * 64, where="") != []


@_settings
@given(_plain)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json_atomic(path, value)
    assert read_json(path) == value
    assert json.loads(path.read_text()) == value


@_settings
@given(st.binary())
def test_any_bytes_are_a_value_or_a_checkpoint_error(data: bytes) -> None:
    try:
        value = parse_json(data, where="")
    except CheckpointError:
        return
    assert json.loads(data) == value


def test_the_error_type_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        read_json(tmp_path / "absent.json", error=DataError)


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('"' + "x" * 98 + '"')
    assert len(read_json(path, max_bytes=100)) == 98
    with pytest.raises(CheckpointError, match="100 bytes, over 99"):
        read_json(path, max_bytes=99)


def test_what_is_not_a_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("1")
    (tmp_path / "link").symlink_to("file")
    for name, reason in (("pipe", "not a regular file"), ("link", "a symbolic link"), (".", "a directory")):
        with pytest.raises(CheckpointError, match=reason):
            read_json(tmp_path / name)
    assert read_json(tmp_path / "link", follow=True) == 1


def test_a_path_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_json(Path("a\0b"))


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json_atomic(path, {"a": [math.nan, math.inf, 1.0], "b": (-math.inf, {"c": math.nan})})
    assert json.loads(path.read_text()) == {"a": [None, None, 1.0], "b": [None, {"c": None}]}


def test_the_form_is_two_spaces_keys_in_their_order_and_a_newline(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", {"z": 1, "a": "é"})
    assert (tmp_path / "a.json").read_bytes() == '{\n  "z": 1,\n  "a": "é"\n}\n'.encode()


def test_a_text_with_half_a_surrogate_is_written_with_a_question_mark(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", ["a\udc80"])
    assert read_json(tmp_path / "a.json") == ["a?"]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_json_atomic(path, 1)

    def fail(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(MachineError, match=r"cannot write 'a.json': Input/output error"):
        write_json_atomic(path, 2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
    assert read_json(path) == 1


def test_a_link_is_replaced_and_what_it_led_to_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("precious")
    (tmp_path / "a.json").symlink_to("outside")
    write_json_atomic(tmp_path / "a.json", 1)
    assert (tmp_path / "outside").read_text() == "precious"
    assert read_json(tmp_path / "a.json") == 1
