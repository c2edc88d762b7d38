from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from kdcli.data import load
from kdcli.data.imagefolder import imagefolder
from kdcli.errors import DataError

SIDE = 8


def _grey(value: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    return Image.new("L", size, value)


def _save(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def _flat(root: Path, per_class: int = 10) -> Path:
    for label, name in enumerate(("ant", "bee", "cat")):
        for i in range(per_class):
            _save(root / name / f"{i:03}.png", _grey(80 * label + i % 80))
    return root


def _read(root: Path, channels: Literal[1, 3] = 1, **options: Any) -> Any:
    return imagefolder(str(root), SIDE, channels, **options)


def _one(root: Path, channels: Literal[1, 3] = 1, size: int = SIDE) -> torch.Tensor:
    """The only image of the class ``odd`` of a folder, after a class is put beside it."""
    _save(root / "train" / "plain" / "a.png", _grey(0))
    (root / "test" / "odd").mkdir(parents=True)
    (root / "test" / "plain").mkdir(parents=True)
    train = imagefolder(str(root), size, channels).train
    assert train.labels.tolist() == [0, 1]
    return train.inputs[0]


def test_labels_follow_the_sorted_names_of_the_folders(tmp_path: Path) -> None:
    for part, value in (("train", 10), ("test", 20)):
        for label, name in enumerate(("ant", "bee")):
            _save(tmp_path / part / name / "deeper" / "x.PNG", _grey(value + label))
    (tmp_path / "train" / "ant" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / "bee" / "._x.png").write_text("not an image either")
    dataset = _read(tmp_path)
    assert (dataset.kind, dataset.classes, dataset.input_shape) == ("image", ("ant", "bee"), (1, SIDE, SIDE))
    assert (dataset.train.inputs.dtype, dataset.train.labels.tolist()) == (torch.uint8, [0, 1])
    assert dataset.train.inputs[:, 0, 0, 0].tolist() == [10, 11]
    assert dataset.test.inputs[:, 0, 0, 0].tolist() == [20, 21]
    assert dataset.validation is None


def test_val_is_the_test_part_where_there_is_no_other(tmp_path: Path) -> None:
    for part, value in (("train", 10), ("val", 30)):
        for name in ("ant", "bee"):
            _save(tmp_path / part / name / "x.png", _grey(value))
    dataset = _read(tmp_path)
    assert dataset.test.inputs[:, 0, 0, 0].tolist() == [30, 30]
    assert dataset.validation is None


def test_val_beside_test_is_the_published_validation_part(tmp_path: Path) -> None:
    for part, value in (("train", 10), ("test", 20), ("val", 30)):
        for name in ("ant", "bee"):
            _save(tmp_path / part / name / "x.png", _grey(value))
    dataset = _read(tmp_path)
    assert dataset.test.inputs[:, 0, 0, 0].tolist() == [20, 20]
    assert dataset.train.inputs[:, 0, 0, 0].tolist() == [10, 10, 30, 30]
    assert dataset.train.labels.tolist() == [0, 1, 0, 1]
    assert dataset.validation is not None
    assert dataset.validation.tolist() == [2, 3]


@pytest.mark.parametrize("folder", [".", "train"])
def test_without_a_test_folder_a_part_of_every_class_is_cut(tmp_path: Path, folder: str) -> None:
    _flat(tmp_path / folder)
    dataset = _read(tmp_path, test_fraction=0.3, seed=1)
    assert dataset.train.labels.bincount().tolist() == [7, 7, 7]
    assert dataset.test.labels.bincount().tolist() == [3, 3, 3]
    values = torch.cat([dataset.train.inputs, dataset.test.inputs])[:, 0, 0, 0]
    assert sorted(values.tolist()) == [80 * label + i for label in range(3) for i in range(10)]
    assert not torch.equal(dataset.test.inputs, _read(tmp_path, test_fraction=0.3, seed=2).test.inputs)


def test_the_middle_of_the_longer_side_is_cut_out(tmp_path: Path) -> None:
    wide = np.zeros((SIDE, 3 * SIDE), dtype=np.uint8)
    wide[:, SIDE : 2 * SIDE] = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    _save(tmp_path / "train" / "odd" / "a.png", Image.fromarray(wide))
    assert _one(tmp_path)[0].tolist() == np.arange(SIDE * SIDE).reshape(SIDE, SIDE).tolist()


def test_the_shorter_side_is_scaled_and_the_middle_cut_out(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16 * SIDE, 8 * SIDE), dtype=np.uint8))
    _save(tmp_path / "train" / "odd" / "a.png", image)
    scaled = np.asarray(image.resize((SIDE, 2 * SIDE), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(_one(tmp_path)[0].numpy() - scaled[SIDE // 2 : SIDE // 2 + SIDE]).max() <= 1


def test_a_photo_is_upright_by_its_exif_tag(tmp_path: Path) -> None:
    pixels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    pixels[: SIDE // 2] = 255  # the upper half; turned clockwise it is the right one
    exif = Image.Exif()
    exif[0x0112] = 6
    _save(tmp_path / "train" / "odd" / "a.jpg", Image.fromarray(pixels), exif=exif, quality=100)
    out = _one(tmp_path)[0]
    assert out[:, SIDE // 2 :].min() > 250
    assert out[:, : SIDE // 2].max() < 5


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    deep = np.full((SIDE, SIDE), 0x8040, dtype=np.uint16)
    _save(tmp_path / "train" / "odd" / "a.png", Image.fromarray(deep))
    assert set(_one(tmp_path).flatten().tolist()) == {0x80}


@pytest.mark.parametrize(
    ("name", "image", "options", "colour"),
    [
        ("cmyk.jpg", Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0)), {"quality": 100}, (255, 0, 0)),
        ("alpha.png", Image.new("RGBA", (SIDE, SIDE), (10, 20, 30, 128)), {}, (10, 20, 30)),
        ("palette.gif", Image.new("P", (SIDE, SIDE), 0), {}, (0, 0, 0)),
        ("grey.png", _grey(9), {}, (9, 9, 9)),
        ("bits.png", Image.new("1", (SIDE, SIDE), 1), {}, (255, 255, 255)),
        (
            "film.gif",
            Image.new("RGB", (SIDE, SIDE), (255, 0, 0)),
            {"save_all": True, "append_images": [Image.new("RGB", (SIDE, SIDE), (0, 0, 255))]},
            (255, 0, 0),
        ),
    ],
)
def test_every_kind_of_image_becomes_rgb(
    tmp_path: Path, name: str, image: Image.Image, options: dict[str, Any], colour: tuple[int, int, int]
) -> None:
    _save(tmp_path / "train" / "odd" / name, image, **options)
    pixels = _one(tmp_path, channels=3).permute(1, 2, 0).reshape(-1, 3).int()
    assert (pixels - torch.tensor(colour)).abs().max() <= 2


def _bomb(side: int) -> bytes:
    """A PNG whose header declares ``side`` by ``side`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


REASONS = {
    "bomb.png": "DecompressionBombError",
    "half-bomb.png": "DecompressionBombWarning",
    "script.jpg": "UnidentifiedImageError",
    "text.jpg": "UnidentifiedImageError",
}


def _unreadable(root: Path) -> dict[str, bytes]:
    photo = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    Image.fromarray(noise).save(photo, "PNG")
    whole = photo.getvalue()
    bad = {f"cut{percent:02}.png": whole[: len(whole) * percent // 100] for percent in range(0, 95, 5)}
    bad |= {"text.jpg": b"not an image", "magic.png": b"\x88" + whole[1:], "bomb.png": _bomb(65_000)}
    bad |= {"half-bomb.png": _bomb(10_000), "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"}
    for name, content in bad.items():
        (root / "bee" / name).write_bytes(content)
    return bad


def test_all_images_that_cannot_be_read_are_in_one_error(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    _flat(tmp_path / "train")
    _flat(tmp_path / "test")
    bad = _unreadable(tmp_path / "train")
    (tmp_path / "test" / "cat" / "empty.png").touch()
    with pytest.raises(DataError) as caught:
        _read(tmp_path)
    first, *listed = caught.value.what.splitlines()
    assert first == f"{len(bad) + 1} of {60 + len(bad) + 1} images cannot be read:"
    assert len(listed) == 21
    assert listed[-1] == f"and {len(bad) + 1 - 20} more"
    assert all(name in caught.value.what for name in sorted(bad)[:20])
    assert caught.value.where == str(tmp_path)
    assert not recwarn.list


def test_every_image_that_cannot_be_read_is_refused_by_itself(tmp_path: Path) -> None:
    _flat(tmp_path, per_class=2)
    for name in _unreadable(tmp_path):
        others = [path for path in (tmp_path / "bee").iterdir() if path.name != name and len(path.stem) > 3]
        for path in others:
            path.rename(path.with_suffix(path.suffix + ".off"))
        with pytest.raises(DataError, match=f"1 of 7 images cannot be read:\n.*{name}: {REASONS.get(name, '')}"):
            _read(tmp_path)
        for path in others:
            path.with_suffix(path.suffix + ".off").rename(path)


def test_a_few_images_that_cannot_be_read_can_be_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _flat(tmp_path / "train", per_class=66)
    _flat(tmp_path / "test", per_class=1)
    clean = _read(tmp_path)
    (tmp_path / "train" / "bee" / "000a.png").write_bytes(b"")
    (tmp_path / "test" / "ant" / "a.png").write_bytes(b"")
    skipped = _read(tmp_path, on_error="skip")
    assert skipped.fingerprint == clean.fingerprint
    assert "left out 2 of 203 images" in caplog.text
    (tmp_path / "test" / "ant" / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match="3 of 204 images") as caught:
        _read(tmp_path, on_error="skip")
    assert "at most 1%" in str(caught.value.fix)


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot list the folder: No such file"):
        _read(tmp_path / "none")
    with pytest.raises(DataError, match="0 folders of classes"):
        _read(tmp_path)
    (tmp_path / "ant").mkdir()
    (tmp_path / "bee").mkdir()
    with pytest.raises(DataError, match="no images in the folders of 2 classes"):
        _read(tmp_path)
    (tmp_path / "test" / "ant").mkdir(parents=True)
    with pytest.raises(DataError, match="a folder test and no folder train"):
        _read(tmp_path)


def test_a_test_part_with_other_classes_is_refused(tmp_path: Path) -> None:
    _flat(tmp_path / "train")
    _flat(tmp_path / "test")
    (tmp_path / "test" / "bee").rename(tmp_path / "test" / "wasp")
    with pytest.raises(DataError, match="its classes are not those of train: 'bee', 'wasp'"):
        _read(tmp_path)


def test_a_class_without_an_image_is_refused(tmp_path: Path) -> None:
    _flat(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match="1 of the 4 classes have no example .* 3"):
        load("imagefolder", {"root": str(tmp_path), "size": SIDE, "channels": 1})


def test_hostile_names_of_classes_are_only_names(tmp_path: Path) -> None:
    names = [
        "-rf",
        "a\nb",
        "\x1b[31m",
        "\u202etxt",
        "[red]",
        "<script>",
        "=cmd()",
        "x" * 255,
        "CON",
        os.fsdecode(b"\xff"),
    ]
    for value, name in enumerate(sorted(names)):
        for i in range(2):
            _save(tmp_path / name / f"{i}.png", _grey(value))
    dataset = _read(tmp_path, test_fraction=0.5)
    assert dataset.classes == tuple(sorted(names))
    assert torch.equal(dataset.train.inputs[:, 0, 0, 0].long(), dataset.train.labels)


def test_no_warning_of_pil_reaches_the_user(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        for i in range(2):
            path = _save(tmp_path / name / f"{i}.png", Image.new("P", (SIDE, SIDE), 0), transparency=bytes([7] * 5))
    with pytest.warns(UserWarning, match="Palette images"), Image.open(path) as image:
        image.convert("L")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        _read(tmp_path, test_fraction=0.5)
    assert not seen
