"""MNIST, which ships with the package, and Fashion-MNIST, which comes in the same form."""

from __future__ import annotations

from pathlib import Path

from kdcli.data.download import fetch
from kdcli.data.idx import read_idx
from kdcli.data.types import Dataset, Split
from kdcli.disk import cache_dir
from kdcli.errors import DataError

DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SHIPPED = Path(__file__).parent / "files" / "mnist"
SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist


def mnist() -> Dataset:
    """MNIST: 60,000 training and 10,000 test images, 1x28x28 (LeCun, Cortes and Burges)."""
    return read_folder("mnist", SHIPPED, DIGITS)


def fashion_mnist(root: str | None = None) -> Dataset:
    """Fashion-MNIST: 60,000 training and 10,000 test images, 1x28x28 (Xiao, Rasul and Vollgraf 2017).

    Args:
        root: A folder with the four IDX files, or in torchvision's layout; the set is downloaded there where it is
            not. None: Debian's folder where that is installed, else the cache.

    Raises:
        DataError: It is not there and cannot be downloaded, or it is damaged.
    """
    if root is None and SYSTEM.is_dir():
        return read_folder("fashion_mnist", SYSTEM, CLOTHES)
    folder = cache_dir() / "fashion_mnist" if root is None else Path(root)
    if not (folder / "train-images-idx3-ubyte.gz").exists():
        folder = fetch("FashionMNIST", folder, "FashionMNIST") / "raw"
    return read_folder("fashion_mnist", folder, CLOTHES)


def read_folder(name: str, folder: Path, classes: tuple[str, ...]) -> Dataset:
    """Read the four IDX files, gzip, of a set in MNIST's form."""
    return Dataset.of(name, "image", classes, _split(folder, "train"), _split(folder, "t10k"))


def _split(folder: Path, prefix: str) -> Split:
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"images of shape {tuple(images.shape)} do not go with labels of shape {tuple(labels.shape)}",
            where=str(folder / f"{prefix}-*"),
            fix="fetch both files again, from the same source",
        )
    return Split(images.unsqueeze(1), labels.long())
