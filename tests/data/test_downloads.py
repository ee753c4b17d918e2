"""MNIST and Fashion-MNIST: found, fetched, refused. No test touches the network."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from staticnet.compiler.errors import DataError, MissingDependencyError
from staticnet.data import downloads, fashion_mnist, mnist, write_idx

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28)).astype(np.uint8)
LABELS = np.array([3, 0, 9, 1, 1, 7], np.uint8)


def put(folder, part="train", images=IMAGES, labels=LABELS, suffix=".gz"):
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
        write_idx(folder / f"{part}-{kind}-ubyte{suffix}", array, compress=bool(suffix))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    pooch = pytest.importorskip("pooch")
    monkeypatch.setattr(pooch, "retrieve", lambda url, *_, **__: pytest.fail(f"a test asked for {url}"))
    return pooch


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("inside", ["mnist", "."])
def test_files_that_are_there(tmp_path, suffix, inside):
    put(tmp_path / inside, suffix=suffix)
    data = mnist(tmp_path)
    images, labels = data.arrays
    assert images.shape == (6, 1, 28, 28) and images.dtype == np.float32
    assert np.array_equal(images, IMAGES[:, None] / np.float32(255)) and 0 <= images.min() < images.max() <= 1
    assert labels.dtype == np.int64 and labels.tolist() == LABELS.tolist()
    assert data.labels[3] == "three"


def test_the_test_part_is_another_pair_of_files(tmp_path):
    put(tmp_path / "mnist", "t10k", IMAGES[:2], LABELS[:2])
    assert len(mnist(tmp_path, train=False)) == 2
    with pytest.raises(DataError, match=r"'train-images-idx3-ubyte\.gz' is neither in"):
        mnist(tmp_path, download=False)


def test_fashion_has_its_own_folder_and_labels(tmp_path):
    put(tmp_path / "mnist", images=IMAGES[:1], labels=LABELS[:1])
    put(tmp_path / "fashion_mnist")
    assert len(mnist(tmp_path)) == 1
    data = fashion_mnist(tmp_path)
    assert len(data) == 6 and data.labels[0] == "T-shirt/top" and data.labels[9] == "Ankle boot"


def test_the_default_folder(tmp_path, monkeypatch):
    put(tmp_path / "a" / "mnist")
    monkeypatch.setenv("STATICNET_DATA", str(tmp_path / "a"))
    assert len(mnist()) == 6
    monkeypatch.delenv("STATICNET_DATA")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    put(tmp_path / "home" / ".cache" / "staticnet" / "mnist", images=IMAGES[:3], labels=LABELS[:3])
    assert len(mnist()) == 3


def test_absent_files_say_what_to_do(tmp_path):
    with pytest.raises(DataError) as caught:
        mnist(tmp_path, download=False)
    assert "download=True" in str(caught.value)
    assert "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz" in str(caught.value)
    assert f"put it into '{tmp_path / 'mnist'}'" in str(caught.value)
    assert caught.value.origin.file == __file__


def test_without_pooch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'staticnet\[data\]'; or download it from https"):
        mnist(tmp_path)


def serve(monkeypatch, pooch, folder, trusted=True):
    """Let pooch's own code run, with a copy from a folder where the request to a mirror would be."""
    asked = []

    class Copy:
        def __call__(self, url, output_file, _):
            asked.append(url)
            source = folder / url.rsplit("/", 1)[1]
            if not source.exists():
                raise ConnectionError(f"no route to {url}")
            Path(output_file).write_bytes(source.read_bytes())

    monkeypatch.setattr(pooch, "retrieve", pooch.core.retrieve)
    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, **__: Copy())
    for path in folder.iterdir() if trusted else ():
        monkeypatch.setitem(downloads._MNIST.md5, path.name, hashlib.md5(path.read_bytes()).hexdigest())
    return asked


def test_fetching_once_into_the_folder_of_the_set(tmp_path, monkeypatch, no_network):
    put(tmp_path / "mirror")
    asked = serve(monkeypatch, no_network, tmp_path / "mirror")
    assert len(mnist(tmp_path / "cache")) == 6
    assert asked == [
        "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
        "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
    ]
    assert sorted(path.name for path in (tmp_path / "cache" / "mnist").iterdir()) == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
    ]
    assert len(mnist(tmp_path / "cache")) == 6 and len(asked) == 2


def test_a_wrong_checksum_is_refused_and_leaves_nothing(tmp_path, monkeypatch, no_network):
    put(tmp_path / "mirror")
    asked = serve(monkeypatch, no_network, tmp_path / "mirror", trusted=False)
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        mnist(tmp_path / "cache")
    assert "does not match the known hash" in str(caught.value)
    assert "f68b3c2dcbeaaa9fbdd348bbdeb94873" in str(caught.value)
    assert len(asked) == 2  # every mirror had its chance
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []


def test_no_network(tmp_path, monkeypatch, no_network):
    (tmp_path / "mirror").mkdir()
    serve(monkeypatch, no_network, tmp_path / "mirror")
    with pytest.raises(DataError) as caught:
        mnist(tmp_path / "cache", train=False)
    assert "when there is no network, download it from" in str(caught.value)
    assert "no route to https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz" in str(caught.value)
    assert "no route to https://storage.googleapis.com/cvdf-datasets/mnist/" in str(caught.value)


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch, no_network):
    put(tmp_path / "mirror")
    serve(monkeypatch, no_network, tmp_path / "mirror", trusted=False)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="could not be downloaded"):
        mnist(tmp_path / "file")


MISFITS = {
    "counts": (IMAGES, LABELS[:5], "holds 6 images and .* 5 labels"),
    "image size": (IMAGES[:, :27], LABELS, r"uint8 images of 28x28, not uint8 of shape \(6, 27, 28\)"),
    "image type": (IMAGES.astype(np.int16), LABELS, "uint8 images of 28x28, not int16"),
    "image axes": (IMAGES[0], LABELS, r"not uint8 of shape \(28, 28\)"),
    "label type": (IMAGES, LABELS.astype(np.int32), "a row of uint8 labels, not int32"),
    "label axes": (IMAGES, LABELS[:, None], r"a row of uint8 labels, not uint8 of shape \(6, 1\)"),
    "label values": (IMAGES, LABELS + np.uint8(1), "holds the label 10, and there are 10 classes"),
}


@pytest.mark.parametrize(("images", "labels", "message"), MISFITS.values(), ids=MISFITS)
def test_files_that_do_not_fit(tmp_path, images, labels, message):
    put(tmp_path, images=images, labels=labels)
    with pytest.raises(DataError, match=message):
        mnist(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    put(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz' is a damaged gzip file"):
        mnist(tmp_path)
