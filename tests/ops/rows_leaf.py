"""Rows of the ops that hand their operand on."""

from __future__ import annotations

import numpy as np

from staticnet.compiler.ops.base import F
from tests.ops.table import Arg, Row

X = Arg(("N", 3))

ROWS: list[Row] = [
    Row("identity", ("identity",), F.identity, (X,), np.copy),
    Row("identity_integers", ("identity",), F.identity, (Arg((3, "N"), "int64", -9, 9),), np.copy),
    Row("stop_gradient", ("stop_gradient",), F.stop_gradient, (X,), np.copy, wrt=()),
]
