"""The reference backend: every instruction is its card's NumPy kernel, writing into its buffer."""

from __future__ import annotations

import numpy as np

from staticnet.compiler.target import REFERENCE
from staticnet.runtime.array_backend import ArrayBackend

NUMPY = ArrayBackend("cpu", np, REFERENCE)
