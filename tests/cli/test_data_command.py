"""``kd data show``: what a network would be given."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from kdcli.__main__ import main
from kdcli.program.samples import look
from kdcli.report.samples import terminal_images
from kdcli.schema import DistillStudent

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown(capsys: pytest.CaptureFixture[str], *line: str) -> str:
    assert main(["data", "show", *line]) == 0
    return capsys.readouterr().out


def test_images_go_into_a_picture_and_classes_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "dataset.views=shift", "transfer.omit=[3]")
    assert "mnist, views: shift-2" in out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line[:3].strip().isalnum()}
    assert rows["3"] == ["5,518", "0", "613", "1,010"]
    assert rows["all"][1] == "48,482"
    path = Path(out.split("see ")[1].strip())
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert not list(Path("outputs").glob("*/*/run.json"))
    with path.with_suffix(".csv").open(newline="") as file:
        assert "3" not in [row[1] for row in csv.reader(file)]


def test_a_dry_run_shows_the_same_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "--dry-run")
    assert "mnist, views: none" in out
    assert out.endswith("\n\nwould write outputs/data/mnist-none.png\n")
    assert json.loads(shown(capsys, "--dry-run", "--json"))["figure"] is None
    assert list(Path().iterdir()) == []


def test_the_images_are_the_ones_that_the_first_epoch_brings(configure: object) -> None:
    from kdcli.data import load
    from kdcli.data.order import epoch_order
    from kdcli.data.views import Shift

    config = configure("distill-student", "teacher=none", "dataset.views=shift", "transfer.fraction=0.1")  # type: ignore[operator]
    assert isinstance(config, DistillStudent)
    samples, train = look(config), load("mnist", {}).train
    from kdcli.build import load_data

    data = load_data(config.dataset, config.transfer, torch.device("cpu"), smoke=False, batch_size=128)
    first = data.transfer[epoch_order(config.data_seed, 0, len(data.transfer))][:64]
    ids = Shift(2).draw(config.data_seed, 0, len(train))[first]
    assert isinstance(train.inputs, torch.Tensor)
    assert samples.images is not None
    assert torch.equal(samples.images, Shift(2).apply(train.inputs[first], ids))
    assert torch.equal(samples.labels, train.labels[first])


def test_a_table_has_ranges_and_no_picture(capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.csv").write_text("x,colour,y\n" + "".join(f"{k / 2},{'rg'[k % 2]},{k % 2}\n" for k in range(60)))
    line = (
        "dataset=csv",
        "dataset.path=t.csv",
        "dataset.target=y",
        "dataset.val_fraction=0",
        "dataset.test_path=t.csv",
    )
    out = shown(capsys, *line, "batch_size=8")
    assert out.split("column")[1].splitlines()[1].split() == ["0", "0", "14.75", "29.5", "8.732"]
    assert "see" not in out
    content = json.loads(shown(capsys, *line, "--json"))
    assert content["counts"]["training"] == [30, 30]
    assert [column["categories"] for column in content["columns"]] == [None, 2]


def test_half_blocks_show_two_pixels_each() -> None:
    images = torch.zeros(2, 1, 4, 3, dtype=torch.uint8)
    images[0, 0, 0, 1] = 255
    text = terminal_images(images, ["a", "a long name"], width=40)
    first, second, names = text.splitlines()
    assert first.startswith("\x1b[38;5;232;48;5;232m▀\x1b[38;5;255;48;5;232m▀")
    assert second.count("▀") == 6
    assert names.split() == ["a", "…me"]


def test_other_words_and_wrong_keys_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["data"], ["data", "look"], ["data", "show", "dataset.view=shift"]):
        assert main(line) == 2
    assert "did you mean 'dataset.views'" in capsys.readouterr().err
