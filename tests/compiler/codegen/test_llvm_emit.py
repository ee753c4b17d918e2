"""Kernels printed as LLVM IR, compiled and run, against the interpreter of the loop form, at each vector width."""

from __future__ import annotations

import numpy as np
import pytest

from staticnet.compiler.codegen.loops.form import (
    Fail,
    For,
    Kernel,
    Load,
    Position,
    Statement,
    Store,
    Var,
    affine,
    const,
    position,
    within,
)
from staticnet.compiler.codegen.loops.interpret import Failed
from staticnet.compiler.codegen.loops.operations import add, apply, cast, multiply, select
from staticnet.compiler.dtypes import (
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
)
from tests.compiler.codegen.kernel_checks import (
    MACHINES,
    TAILS,
    J,
    N,
    check,
    numbers,
    pointwise,
    source,
    target,
)
from tests.compiler.codegen.native import Compiled

DTYPES = (float32, float64, float16, int64, int32, int16, int8, uint8, uint16, bool_)


# -- elementwise --------------------------------------------------------------------------------


@MACHINES
def test_every_tail_of_an_outer_vector_loop(machine):
    x, y = source("x", float32, 200), target("y", float32, 200)
    kernel = pointwise(200, y, add(Load(float32, x, affine(N)), const(1, float32)))
    compiled = Compiled(kernel, machine)
    content = numbers(x)
    for begin in (0, 3):
        for extent in (0, *TAILS):
            result = np.full(200, -1, np.float32)
            compiled({x: content, y: result}, begin, begin + extent)
            expected = np.full(200, -1, np.float32)
            expected[begin : begin + extent] = content[begin : begin + extent] + 1
            np.testing.assert_array_equal(result, expected)


@MACHINES
@pytest.mark.parametrize("kind", ["vector", "lanes"])
def test_every_tail_of_an_inner_loop(machine, kind):
    body: list[Statement] = []
    base = 0
    for extent in TAILS:
        var = Var(f"v{extent}")
        array = target("y", float32, 2 * sum(TAILS))
        value = Load(float32, source("x", float32, 2 * sum(TAILS)), N * sum(TAILS) + var + base)
        body.append(For(var, extent, (Store(array, N * sum(TAILS) + var + base, add(value, value)),), kind))
        base += extent
    check(Kernel("tails", For(N, 2, tuple(body))), machine)


@MACHINES
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_each_dtype_is_loaded_and_stored(machine, dtype):
    x, y, z = source("x", dtype, 150), target("y", dtype, 150), target("z", bool_, 150)
    one = const(1, dtype)
    value = Load(dtype, x, affine(N))
    body = (
        Store(y, affine(N), apply("maximum", value, one)),
        Store(z, affine(N), apply("equal", value, one)),
        For(J, 1, (Store(target("w", dtype, 150), affine(N), value, None, (within(N, 5, 77),)),)),
    )
    check(Kernel("dtypes", For(N, 150, body, "vector")), machine)


@MACHINES
def test_dtypes_of_different_width_meet(machine):
    n = 77
    half = cast(Load(float16, source("h", float16, n), affine(N)), float32)
    double = cast(Load(int8, source("b", int8, n), affine(N)), float64)
    total = add(cast(add(half, const(0.5, float32)), float64), double)
    chosen = select(apply("less", Load(int64, source("l", int64, n), affine(N)), const(2, int64)), total, double)
    body = (
        Store(target("y", float64, n), affine(N), chosen),
        Store(target("z", float16, n), affine(N), cast(chosen, float16)),
        Store(target("u", uint8, n), affine(N), cast(chosen, uint8)),
    )
    check(Kernel("mixed", For(N, n, body, "vector")), machine)


@MACHINES
def test_nan_compares_as_in_numpy(machine):
    x = source("x", float32, 40)
    content = np.where(np.arange(40) % 3 == 0, np.nan, np.arange(40) % 2).astype(np.float32)
    for operation in ("equal", "not_equal", "less", "greater_equal"):
        value = Load(float32, x, affine(N))
        check(pointwise(40, target("y", bool_, 40), apply(operation, value, value)), machine, x=content)


@MACHINES
@pytest.mark.parametrize("stride", [0, 2, 3, -1, 40])
@pytest.mark.parametrize("dtype", [float32, uint8, float64], ids=str)
def test_strides(machine, stride, dtype):
    start = 40 if stride < 0 else 0
    x, y = source("x", dtype, 41 * max(1, stride)), target("y", dtype, 41 * max(1, stride))
    value = Load(dtype, x, N * stride + start)
    check(pointwise(39, target("z", dtype, 39), value), machine)
    if stride:
        check(Kernel("scatter", For(N, 39, (Store(y, N * stride + start, value),), "vector")), machine)
    inner = For(J, 39, (Store(y, J * (stride or 1) + start, Load(dtype, x, J * stride + start)),), "vector")
    check(Kernel("inner", For(N, 1, (inner,))), machine)


@MACHINES
def test_an_output_may_be_an_input(machine):
    x, bias = source("x", float32, 90), source("bias", float32, 1)
    y, z = target("y", float32, 90), target("z", float32, 90)
    doubled = multiply(Load(float32, x, affine(N)), const(2, float32))
    value = add(doubled, Load(float32, bias, affine(0)))
    body = (Store(y, affine(N), value), Store(z, affine(N), multiply(value, value)))
    kernel = Kernel("in place", For(N, 90, body, "vector"))
    for begin, end in ((0, 90), (0, 17), (5, 6)):
        content, other = numbers(x), np.zeros(90, np.float32)
        expected = numbers(x)
        expected[begin:end] = expected[begin:end] * 2 + 3
        Compiled(kernel, machine)({x: content, y: content, z: other, bias: np.full(1, 3, np.float32)}, begin, end)
        np.testing.assert_array_equal(content, expected)
        np.testing.assert_array_equal(other[begin:end], expected[begin:end] ** 2)


# -- positions, offsets, guards ---------------------------------------------------------------------


@MACHINES
def test_positions(machine):
    index = N * 3 - J * 2 + 7
    body = (Store(target("y", int64, 4 * 30), N * 30 + J, position(index)),)
    check(Kernel("positions", For(N, 4, (For(J, 30, body, "vector"),))), machine)
    check(pointwise(50, target("y", int32, 50), cast(Position(int64, N * 2 + 1), int32)), machine, ranges=3)


@MACHINES
@pytest.mark.parametrize("dtype", [float32, float64, int32, int8, bool_, float16], ids=str)
def test_gather_and_scatter(machine, dtype):
    x, y, places = source("x", dtype, 5), target("y", dtype, 60), source("p", int32, 45)
    place = cast(Load(int32, places, affine(N)), int64)
    value = Load(dtype, x, affine(0), place)
    check(pointwise(45, target("z", dtype, 45), value), machine, ranges=2)
    permutation = np.random.default_rng(1).permutation(45).astype(np.int32)
    scattered = Store(y, affine(3), Load(dtype, source("w", dtype, 45), affine(N)), place)
    check(Kernel("scatter", For(N, 45, (scattered,), "vector")), machine, p=permutation)
    guarded = Load(dtype, x, N - 10, place, (within(N, 10, 11),), const(1, dtype))
    check(pointwise(45, target("z", dtype, 45), guarded), machine)


@MACHINES
@pytest.mark.parametrize("dtype", [float32, int16, bool_], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 0])
def test_guards_read_nothing_outside(machine, dtype, stride):
    """Padding: the memory around the array is another's, so reading it would be seen by the interpreter."""
    x = source("x", dtype, 30)
    for otherwise in (None, const(1, dtype)):
        guard = (within(N * stride + J - 4, 0, 30), within(N, 3, 25))
        value = Load(dtype, x, N * stride + J - 4, None, guard, otherwise)
        body = (Store(target("y", dtype, 12 * 40), J * 40 + N, value),)
        check(Kernel("padded", For(J, 12, (For(N, 40, body, "vector"),))), machine)
        body = (Store(target("y", dtype, 40 * 12), N * 12 + J, value),)
        check(Kernel("padded", For(N, 40, (For(J, 12, body),), "vector")), machine)
        check(Kernel("padded", For(J, 12, (For(N, 40, body),))), machine)


@MACHINES
def test_guarded_stores(machine):
    value = Load(float32, source("x", float32, 40 * 40), N * 40 + J)
    diagonal, row, column, never = within(N + J, 3, 50), within(N, 2, 30), within(J, 2, 30), within(J, 50, 60)
    for guard in ((diagonal,), (row,), (row, column), (never,)):
        for step in (1, 2):
            body = (Store(target("y", float32, 3200), N * 80 + J * step, value, None, guard),)
            check(Kernel("guarded", For(N, 40, (For(J, 40, body, "vector"),))), machine)


@MACHINES
def test_a_failure_is_reported_and_stops_bad_accesses(machine):
    places, x, y = source("p", int64, 70), source("x", float32, 10), target("y", float32, 70)
    place = Load(int64, places, affine(N))
    wrong = apply("logical_not", apply("less", place, const(10, int64)))
    body = (Fail(wrong), Store(y, affine(N), Load(float32, x, affine(0), place)))
    for kind in ("serial", "vector"):
        kernel = Kernel("fails", For(N, 70, body, kind))
        check(kernel, machine)
        for at in (0, 33, 69):
            content = np.zeros(70, np.int64)
            content[at] = 1 << 40
            with pytest.raises(Failed):
                check(kernel, machine, p=content)
            compiled, memory = Compiled(kernel, machine), {places: content, x: numbers(x), y: np.zeros(70, np.float32)}
            with pytest.raises(Failed):
                compiled(memory)
            compiled(memory, 0, at)
