from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcli.data import csvfile, load
from kdcli.data.letter import SHIPPED
from kdcli.data.table import csv_table
from kdcli.errors import DataError

GOOD = "size,colour,class\n1.5,red,yes\n-2,blue,no\n3e2,red,yes\n4,green,no\n"


def _write(folder: Path, text: str, name: str = "table.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def _rows(path: str, **options: object) -> dict[tuple[float, ...], int]:
    dataset = csv_table(path, "class", test_fraction=0.5, **options)  # type: ignore[arg-type]
    inputs = torch.cat([dataset.train.inputs, dataset.test.inputs])
    labels = torch.cat([dataset.train.labels, dataset.test.labels])
    return {tuple(row): label for row, label in zip(inputs.tolist(), labels.tolist(), strict=True)}


def test_numbers_stay_numbers_and_categories_become_sorted_codes(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD)
    dataset = csv_table(path, "class", test_fraction=0.5)
    assert (dataset.kind, dataset.classes, dataset.nominal) == ("table", ("no", "yes"), (1,))
    assert (dataset.train.inputs.dtype, dataset.train.labels.dtype) == (torch.float32, torch.int64)
    assert _rows(path) == {(1.5, 2.0): 1, (-2.0, 0.0): 0, (300.0, 2.0): 1, (4.0, 1.0): 0}


def test_the_target_may_be_any_column(tmp_path: Path) -> None:
    path = _write(tmp_path, "class,a,b\n0,1,2\n1,3,4\n0,5,6\n1,7,8\n")
    assert _rows(path) == {(1.0, 2.0): 0, (3.0, 4.0): 1, (5.0, 6.0): 0, (7.0, 8.0): 1}


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    path = _write(tmp_path, "a,class\n" + "".join(f"{i},{c}\n" for i, c in enumerate([10, 9, 2] * 4)))
    assert csv_table(path, "class", test_fraction=0.25).classes == ("2", "9", "10")


def test_numbers_that_are_named_nominal_are_categories(tmp_path: Path) -> None:
    path = _write(tmp_path, "zone,a,class\n30,1,y\n7,2,n\n30,3,y\n7b,4,n\n")
    assert csv_table(path, "class", test_fraction=0.5, nominal=["zone"]).nominal == (0,)
    assert _rows(path, nominal=["zone"]) == {(0.0, 1.0): 1, (1.0, 2.0): 0, (0.0, 3.0): 1, (2.0, 4.0): 0}


def test_gzip_quotes_blanks_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    text = '\ufeffsize, colour ,class\r\n\r\n1.5 , "red",yes\r\n-2,"blue",no \r\n3e2,red,yes\r\n4,green,no\r\n'
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert _rows(str(tmp_path / "table.csv.gz")) == _rows(_write(tmp_path, GOOD))


def test_a_test_file_shares_codes_with_the_training_file(tmp_path: Path) -> None:
    train = _write(tmp_path, GOOD)
    test = _write(tmp_path, "size,colour,class\n1,azure,no\n2,red,no\n", "test.csv")
    dataset = csv_table(train, "class", test_path=test)
    assert dataset.train.inputs[:, 1].tolist() == [3.0, 1.0, 3.0, 2.0]  # azure, blue, green, red
    assert dataset.test.inputs.tolist() == [[1.0, 0.0], [2.0, 3.0]]
    assert dataset.test.labels.tolist() == [0, 0]


def test_letter_recognition_reads_as_the_shipped_dataset() -> None:
    dataset, shipped = csv_table(str(SHIPPED), "letter", test_fraction=0.2, seed=0), load("letter", {})
    assert dataset.classes == shipped.classes
    assert len(dataset.test) == 4_000
    total = shipped.train.inputs.double().sum(0) + shipped.test.inputs.double().sum(0)
    assert torch.equal(dataset.train.inputs.double().sum(0) + dataset.test.inputs.double().sum(0), total)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the CSV file is empty"),
        ("a,class\n", "has a header and no rows"),
        ("1,2\n3,4\n", "line 1: there is no header"),
        ("a,class,a\n1,y,2\n", "line 1: the header has 'a' twice"),
        ("a,,class\n1,2,y\n", "line 1: a column has no name"),
        ("class\ny\nn\n", "line 1: there is one column only, 'class'"),
        ("a;class\n1;y\n", "line 1: there is one column only, 'a;class'"),
        ("a,class\n1,y\n2\n", "line 3: 1 cells, the header has 2"),
        ("a,class\n1,y\n\n2,n,3\n", "line 4: 3 cells, the header has 2"),
        ("a,class\n1,y\n,n\n", "line 3: no value for 'a'"),
        ("a,class\n?,y\n1,n\n", "line 2: no value for 'a'"),
        ("a,class\n1,y\nnan,n\n", "line 3: no value for 'a'"),
        ("a,class\n1,y\n1,NA\n", "line 3: no value for 'class'"),
        ("a,class\n1,y\ninf,n\n", "line 3: 'inf' of 'a' is not a finite number"),
        ("a,class\ninf,y\n1,n\n", "line 2: 'inf' of 'a' is not a finite number"),
        ("a,class\n1,y\n1e39,n\n", "line 3: '1e39' of 'a' is not a finite number"),
        ("a,class\n1,y\n1_0,n\n", "line 3: '1_0' of 'a' is not a finite number"),
        ("a,class\n1,y\n2;5,n\n", "line 3: '2;5' of 'a' is not a finite number"),
        ("a,class\nx,y\n2,n\n", "line 3: '2' of 'a' is a number among text"),
        ("a,class\n1,y\n2,y\n", "all rows are of one class, 'y'"),
        ('a,class\n1,"y\n2,n\n', "cannot read the CSV file: unexpected end of data"),
        ("a,class\n" + "".join(f"{i},{i / 7}\n" for i in range(40)), "40 different values in 40 rows"),
        ("a,class\n1,y\n2,n\n", "less than one|leaves a class"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        csv_table(_write(tmp_path, text), "class")


def test_a_wrong_value_is_found_on_its_line_in_a_long_table(tmp_path: Path) -> None:
    lines = ["a,b,class", *(f"{i},{i},{i % 2}" for i in range(10_000))]
    lines[9_000] = "1,oops,0"
    with pytest.raises(DataError, match="line 9001: 'oops' of 'b'"):
        csv_table(_write(tmp_path, "\n".join(lines)), "class")


@pytest.mark.parametrize(("target", "nominal", "where"), [("clas", None, "target"), ("class", ["siez"], "nominal")])
def test_an_unknown_column_is_refused_with_the_nearest(
    tmp_path: Path, target: str, nominal: list[str] | None, where: str
) -> None:
    with pytest.raises(DataError, match="has no column") as caught:
        csv_table(_write(tmp_path, GOOD), target, nominal=nominal)
    assert caught.value.where == f"dataset.{where}"
    assert caught.value.fix == {"target": "did you mean 'class'?", "nominal": "did you mean 'size'?"}[where]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size,colour,class\n1,red,no\n2,red,maybe\n", "line 3: class 'maybe' is not in the training file"),
        ("colour,size,class\nred,1,no\n", "the header differs"),
        ("size,class\n1,no\n", "has no column 'colour'"),
        ("size,colour,class\nbig,red,no\n", "line 2: 'big' of 'size' is not a finite number"),
    ],
)
def test_a_test_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    train, test = _write(tmp_path, GOOD), _write(tmp_path, text, "test.csv")
    with pytest.raises(DataError, match=message):
        csv_table(train, "class", test_path=test)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for name, content in (("a.csv", b"a,class\n\xff\xfe,1\n"), ("b.csv.gz", b"a,class\n1,2\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="cannot read the CSV file") as caught:
            csv_table(str(tmp_path / name), "class")
        assert caught.value.where == str(tmp_path / name)
    with pytest.raises(DataError, match="No such file"):
        csv_table(str(tmp_path / "none.csv"), "class")


def test_a_line_without_end_is_not_read_whole(tmp_path: Path) -> None:
    bomb = gzip.compress(b"a,class\n" + bytes(20 * csvfile.MAX_LINE), compresslevel=1)
    (tmp_path / "bomb.csv.gz").write_bytes(bomb)
    with pytest.raises(DataError, match="line 2: a line of more than"):
        csv_table(str(tmp_path / "bomb.csv.gz"), "class")


def test_a_file_that_unpacks_to_far_more_than_a_table_is_refused_before_its_rows_are_read(tmp_path: Path) -> None:
    rows = b"0.0,ape\n0.0,bee\n" * 2**21
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"a,class\n" + rows))
    with pytest.raises(DataError, match="unpacks to more than 250 times its size"):
        csv_table(str(tmp_path / "bomb.csv.gz"), "class")


@given(st.one_of(st.binary(max_size=60), st.text('a1,."\n\r _?\0é', max_size=60).map(str.encode)), st.booleans())
def test_no_bytes_raise_anything_but_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, headed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.csv"
    path.write_bytes(b"a,class\n1,x\n2,y\n3,x\n4,y\n" * headed + noise)
    try:
        dataset = csv_table(str(path), "class", test_fraction=0.5)
    except DataError:
        return
    assert dataset.train.inputs.isfinite().all()
    assert len(dataset.classes) >= 2
