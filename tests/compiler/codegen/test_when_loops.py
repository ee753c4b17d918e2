"""Statements that run where a value says so: interpreted and compiled alike."""

from __future__ import annotations

import numpy as np
import pytest

from staticnet.compiler.codegen.loops.form import (
    Accumulate,
    Array,
    For,
    Kernel,
    Register,
    Set,
    Store,
    Var,
    When,
    affine,
    const,
    dense,
    load,
)
from staticnet.compiler.codegen.loops.interpret import run_kernel
from staticnet.compiler.codegen.loops.operations import apply
from staticnet.compiler.dtypes import float32
from tests.compiler.codegen.native import run_native, smaller_machines

ROWS, WIDTH = 5, 19
X, Y = Array("x", float32, ROWS * WIDTH, "input"), Array("y", float32, ROWS, "output")


def kernel() -> Kernel:
    """The sum of each row, or -1 where it is not above 2."""
    x, row, lane, total = dense(X, ROWS, WIDTH), Var("row"), Var("lane"), Register("total", float32)
    summed = For(lane, WIDTH, (Accumulate(total, "add", load(x, row, lane)),), "vector")
    is_large = apply("greater", total.value, const(2, float32))
    body = (
        Set(total, const(0, float32)),
        summed,
        Store(Y, affine(row), const(-1, float32)),
        When(is_large, (Store(Y, affine(row), total.value),)),
    )
    return Kernel("sums", For(row, ROWS, body))


@pytest.mark.parametrize("machine", smaller_machines(), ids=lambda machine: machine.name)
def test_a_statement_runs_where_its_condition_holds(machine):
    x = np.zeros((ROWS, WIDTH), np.float32)
    x[:, 3] = [3, 1, 2, np.nan, 7]
    expected = np.array([3, -1, -1, -1, 7], np.float32)
    for run in (run_kernel, lambda *given: run_native(*given, machine=machine)):
        y = np.zeros(ROWS, np.float32)
        run(kernel(), {X: x.reshape(-1), Y: y})
        np.testing.assert_array_equal(y, expected)


def test_the_text_says_when():
    assert "when" in str(kernel())
