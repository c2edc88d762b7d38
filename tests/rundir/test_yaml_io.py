from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kdcli.errors import CheckpointError, UsageError
from kdcli.yaml_io import check_plain, dump_yaml, load_yaml, load_yaml_list

_settings = settings(max_examples=100, deadline=None, database=None)
_tricky = st.sampled_from(
    [
        *("yes", "no", "on", "off", "true", "null", "~", "1", "010", "0x10", "1_0", "1e3", "1.5", ".5", ".inf", ".nan"),
        *("1:30", "2026-11-21", "<<", "=", "-", "?", "!", "&", "*", "@", "`", "%", "#", "[", "{", ":", "${x}"),
    ]
)
_text = st.text() | _tricky
_plain = st.dictionaries(
    _text,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | _text,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
        max_leaves=15,
    ),
    max_size=5,
)


def _load(tmp_path: Path, text: str | bytes) -> dict[str, object]:
    path = tmp_path / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_yaml(path, error=UsageError)


@_settings
@given(_plain)
def test_what_is_dumped_is_loaded_back(tmp_path_factory: pytest.TempPathFactory, value: dict[str, object]) -> None:
    text = dump_yaml(value)
    assert _load(tmp_path_factory.getbasetemp(), text) == value
    assert yaml.safe_load(text) == value


@_settings
@given(st.binary() | st.text().map(str.encode) | st.text("{}[]:,-&*!|> \n\t'\"#%a0").map(str.encode))
def test_any_bytes_are_a_mapping_or_a_usage_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    try:
        value = _load(tmp_path_factory.getbasetemp(), data)
    except UsageError:
        return
    assert isinstance(value, dict)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-12", -12),
        ("1_000", 1000),
        ("0", 0),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("true", True),
        ("off", False),
        ("null", None),
        ("", None),
        ("~", None),
        ("0x10", "0x10"),
        ("1:30", "1:30"),
        ("2026-11-21", "2026-11-21"),
        ("=", "="),
        ("${oc.env:HOME}", "${oc.env:HOME}"),
        ("'010'", "010"),
        ("'\u0663'", "\u0663"),
        ("\u0663", "\u0663"),
        ("[1, [a]]", [1, ["a"]]),
    ],
)
def test_plain_values_are_read_as_numbers_texts_and_nothing_else(tmp_path: Path, text: str, value: object) -> None:
    assert _load(tmp_path, f"a: {text}") == {"a": value}


def test_a_merge_key_is_only_a_text(tmp_path: Path) -> None:
    assert _load(tmp_path, "'<<': {a: 1}") == {"<<": {"a": 1}}


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("a: 1\n\tb: 2\n", "2:", "tab|token|mapping"),
        ("a: 1\nb: 2\na: 3\n", "3:1", "key 'a' appears twice"),
        ("a:\n  b: {c: 1, c: 2}\n", "2:13", "key 'c' appears twice"),
        ("a: !!python/object/apply:os.system [ls]\n", "1:4", "a tag"),
        ("a: !!str 1\n", "1:4", "a tag"),
        ("!x {a: 1}\n", "1:1", "a tag"),
        ("a: &x [1]\nb: *x\n", "1:4", "anchor or alias"),
        ("a: *x\n", "1:4", "anchor or alias"),
        ("- 1\n- 2\n", "1:1", "got a list"),
        ("text\n", "1:1", "got a str"),
        ("", "1:1", "got nothing"),
        ("# only a comment\n", "1:1", "got nothing"),
        ("\ufeffa: 1\n", "", "byte-order mark"),
        ("a: \0\n", "", "control characters"),
        (b"a: \xff\n", "", "utf-8"),
        ("a: 1\n---\nb: 2\n", "2:1", "second document"),
        ("1: a\n", "1:1", "not a text"),
        ("on: a\n", "1:1", "not a text"),
        ("? [a]\n: 1\n", "1:3", "not a text"),
        ("seed: 010\n", "1:7", "starts with 0"),
        ("seed: -00\n", "1:7", "starts with 0"),
        ("seed: " + "9" * 5000 + "\n", "1:7", "too large"),
        ("a: " + "[" * 70 + "]" * 70, "1:67", "nested deeper than 64"),
        ("a: [1\n", "2:1", "expected"),
        ('a: "\\ud800"\n', "1:", "invalid Unicode"),
    ],
)
def test_each_fault_is_a_usage_error_with_line_and_column(
    tmp_path: Path, text: str | bytes, place: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        _load(tmp_path, text)
    assert caught.value.where is not None
    assert caught.value.where.startswith(f"{tmp_path / 'a.yaml'}{':' if place else ''}{place}")


@pytest.mark.parametrize(
    "bomb",
    [
        "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{n}: &{n} [{','.join(['*a'] * 9)}]\n" for n in "bcdefgh"),
        "a: " + "[" * 100_000,
        "a: " + "{b: " * 100_000,
        "".join(f"{' ' * depth}a:\n" for depth in range(1000)),
        "- " * 100_000,
        "a:\n" + "- b\n" * 60_000,
        "a: " + "x" * 2**20,
    ],
    ids=range(7),
)
def test_a_bomb_is_refused_or_read_within_two_seconds(tmp_path: Path, bomb: str) -> None:
    started = time.process_time()
    with suppress(UsageError):
        _load(tmp_path, bomb)
    assert time.process_time() - started < 2


def test_links_are_followed_only_where_the_user_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\n")
    (tmp_path / "link.yaml").symlink_to("a.yaml")
    assert load_yaml(tmp_path / "link.yaml", follow=True) == {"a": 1}
    with pytest.raises(CheckpointError, match="symbolic link"):
        load_yaml(tmp_path / "link.yaml")


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({"a": {"b": ["x", "${oc.env:SECRET}"]}}, "a.b[1]"),
        ({"a": {"${x}": 1}}, "a"),
        ({"a": Path("x")}, "a"),
        ({"a": {1: 2}}, "a"),
        ({"a": "\udc80"}, "a"),
    ],
)
def test_what_is_not_plain_data_is_refused_by_its_key(value: object, key: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_plain(value, error=UsageError)
    assert caught.value.where == key
    with pytest.raises(CheckpointError) as caught_in_file:
        check_plain(value, error=CheckpointError, file=Path("config.yaml"))
    assert caught_in_file.value.where == f"config.yaml: {key}"


def test_what_nests_too_deep_to_be_read_back_is_refused() -> None:
    value: object = 1
    for _ in range(64):
        value = {"a": value}
    check_plain(value, error=UsageError)
    with pytest.raises(UsageError, match="nested deeper"):
        check_plain({"a": value}, error=UsageError)


def test_a_list_is_read_where_a_list_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text(dump_yaml(["seed=3", "010"]))
    assert load_yaml_list(path) == ["seed=3", "010"]
    path.write_text("a: 1\n")
    with pytest.raises(CheckpointError, match="got a mapping"):
        load_yaml_list(path)
