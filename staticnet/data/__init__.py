"""Datasets and the DataLoader: everything about examples before they become a batch; NumPy only."""

from staticnet.data.bundled import digits
from staticnet.data.datasets import ArrayDataset, Dataset, Subset, random_split
from staticnet.data.downloads import fashion_mnist, mnist
from staticnet.data.idx import read_idx, write_idx
from staticnet.data.loader import DataLoader

__all__ = [
    "ArrayDataset",
    "DataLoader",
    "Dataset",
    "Subset",
    "digits",
    "fashion_mnist",
    "mnist",
    "random_split",
    "read_idx",
    "write_idx",
]
