"""The data that is fetched on first use: MNIST and Fashion-MNIST, four IDX files each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from staticnet.boundary import boundary
from staticnet.compiler.errors import DataError, MissingDependencyError
from staticnet.data.bundled import DIGIT_LABELS
from staticnet.data.datasets import ArrayDataset
from staticnet.data.idx import read_idx


@dataclass(frozen=True)
class _Source:
    folder: str
    mirrors: tuple[str, ...]
    md5: dict[str, str]
    labels: tuple[str, ...]


_MNIST = _Source(
    folder="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    md5={
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    labels=DIGIT_LABELS,
)
_FASHION = _Source(
    folder="fashion_mnist",
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    md5={
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    labels=(
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
    ),
)


@boundary
def mnist(root: str | os.PathLike[str] | None = None, train: bool = True, download: bool = True) -> ArrayDataset:
    """Handwritten digits of 28x28 pixels: the 60,000 for training or the 10,000 for testing.

    Examples (image, label); images float32 of shape (1, 28, 28) in [0, 1], labels int64 from 0
    to 9. The two IDX files, plain or gzipped, are looked for in the folder `root`/mnist, then
    in `root` itself; `root` is by default $STATICNET_DATA or else ~/.cache/staticnet. With
    `download`, missing ones are fetched into `root`/mnist and compared with their md5. Raises
    DataError for files that are missing or malformed or do not fit each other, and
    MissingDependencyError when pooch is needed and not installed.
    Source: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/.
    """
    return _load(_MNIST, root, train, download)


@boundary
def fashion_mnist(
    root: str | os.PathLike[str] | None = None, train: bool = True, download: bool = True
) -> ArrayDataset:
    """Articles of clothing of 28x28 pixels: the 60,000 for training or the 10,000 for testing.

    As `mnist`, in the folder `root`/fashion_mnist; `labels` of the dataset holds the ten names.
    Source: Xiao, Rasul and Vollgraf, https://arxiv.org/abs/1708.07747 (MIT licence).
    """
    return _load(_FASHION, root, train, download)


def _load(source: _Source, root: str | os.PathLike[str] | None, train: bool, download: bool) -> ArrayDataset:
    folder = Path(root or os.environ.get("STATICNET_DATA") or Path.home() / ".cache" / "staticnet").expanduser()
    part = "train" if train else "t10k"
    image_path = _locate(source, folder, f"{part}-images-idx3-ubyte.gz", download)
    label_path = _locate(source, folder, f"{part}-labels-idx1-ubyte.gz", download)
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise DataError(f"'{image_path}' should hold uint8 images of 28x28, not {images.dtype} of shape {images.shape}")
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise DataError(f"'{label_path}' should hold a row of uint8 labels, not {labels.dtype} of shape {labels.shape}")
    if len(images) != len(labels):
        raise DataError(
            f"'{image_path}' holds {len(images)} images and '{label_path}' {len(labels)} labels; "
            "they are not of one set, or one of them is damaged: remove both and fetch them again"
        )
    if labels.size and labels.max() >= len(source.labels):
        raise DataError(f"'{label_path}' holds the label {labels.max()}, and there are {len(source.labels)} classes")
    pixels = images[:, np.newaxis].astype(np.float32)
    pixels /= 255
    return ArrayDataset(pixels, labels.astype(np.int64), labels=source.labels)


def _locate(source: _Source, root: Path, name: str, download: bool) -> Path:
    """The path of the file called `name`, or so but for `.gz`; fetched when it is not there."""
    own = root / source.folder
    for folder in (own, root):
        for candidate in (folder / name, (folder / name).with_suffix("")):
            if candidate.is_file():
                return candidate
    by_hand = f"download it from {source.mirrors[0]}{name} and put it into '{own}'"
    if not download:
        raise DataError(f"'{name}' is neither in '{own}' nor in '{root}'; call with download=True, or {by_hand}")
    return _fetch(source, own, name, by_hand)


def _fetch(source: _Source, folder: Path, name: str, by_hand: str) -> Path:
    try:
        import pooch
    except ImportError as error:
        raise MissingDependencyError(
            f"'{name}' must be downloaded, and that needs pooch: pip install 'staticnet[data]'; or {by_hand}"
        ) from error
    failures = []
    for mirror in source.mirrors:
        try:
            # pooch moves the file into place only after its checksum has proved right.
            return Path(pooch.retrieve(mirror + name, f"md5:{source.md5[name]}", fname=name, path=folder))
        except (OSError, ValueError) as error:  # no network or a full disk, and a wrong checksum
            failures.append(f"{mirror}{name}: {error}")
    raise DataError("\n  ".join([f"'{name}' could not be downloaded; when there is no network, {by_hand}", *failures]))
