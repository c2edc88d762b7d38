"""Folders of small images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Make a folder of noise, PNG and JPEG of several sizes: ``folder("train", "test", per_class=9)``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def make(*parts: str, per_class: int = 20, name: str = "images") -> Path:
        draws = np.random.default_rng(0)
        for part in parts or (".",):
            for kind in ("ant", "bee", "cat"):
                path = tmp_path / name / part / kind
                path.mkdir(parents=True)
                for number in range(per_class):
                    shape = (*draws.integers(10, 20, 2), 3)
                    image = Image.fromarray(draws.integers(0, 256, shape, dtype=np.uint8))
                    image.save(path / f"{number:03}.{('png', 'jpg')[number % 2]}")
        return tmp_path / name

    return make
