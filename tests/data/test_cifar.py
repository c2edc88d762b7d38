from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kdcli.data.cifar import as_split, cifar10
from kdcli.errors import DataError


def test_images_become_channels_first() -> None:
    data = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 3), dtype=np.uint8)
    split = as_split(SimpleNamespace(data=data, targets=[3, 1, 4, 1, 5]))
    assert (split.inputs.dtype, tuple(split.inputs.shape)) == (torch.uint8, (5, 3, 4, 3))
    assert split.inputs.is_contiguous()
    for image, row, column, channel in ((0, 0, 0, 0), (4, 3, 2, 1), (2, 1, 0, 2)):
        assert split.inputs[image, channel, row, column] == data[image, row, column, channel]
    assert split.labels.tolist() == [3, 1, 4, 1, 5]


def test_files_that_are_not_the_published_ones_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / name).write_bytes(f"cbuiltins\nexec\n(S'open({str(marker)!r}, \"w\")'\ntR.".encode())
    with pytest.raises(DataError, match="missing or not the published one") as caught:
        cifar10(str(tmp_path))
    assert caught.value.where == str(folder)
    assert not marker.exists()
