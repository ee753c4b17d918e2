"""Kernels with registers printed as LLVM IR, compiled and run: reductions, tiles, branches, workspace, random ones."""

from __future__ import annotations

import numpy as np
import pytest

from staticnet.compiler.codegen.loops.form import (
    Accumulate,
    Array,
    For,
    If,
    Kernel,
    Load,
    Register,
    Set,
    Statement,
    Store,
    Var,
    affine,
    const,
    position,
    within,
)
from staticnet.compiler.codegen.loops.interpret import run_kernel
from staticnet.compiler.codegen.loops.operations import add, apply, cast, multiply, multiply_add
from staticnet.compiler.dtypes import (
    DType,
    bool_,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
)
from tests.compiler.codegen.kernel_checks import (
    MACHINES,
    TAILS,
    J,
    K,
    L,
    N,
    R,
    check,
    numbers,
    source,
    target,
)
from tests.compiler.codegen.native import run_native
from tests.compiler.codegen.random_kernels import RandomKernel

# -- reductions --------------------------------------------------------------------------------------


@MACHINES
@pytest.mark.parametrize(
    ("operation", "dtype"),
    [(operation, bool_) for operation in ("logical_or", "logical_and")]
    + [(operation, dtype) for operation in ("add", "maximum") for dtype in (float32, float64, int64, int8)]
    + [("multiply", float32), ("minimum", float32), ("minimum", uint8)],
    ids=str,
)
def test_reductions_of_rows(machine, operation, dtype):
    body: list[Statement] = []
    x, y = source("x", dtype, 3 * 200), target("y", dtype, 3 * len(TAILS))
    for number, extent in enumerate(TAILS):
        register, var = Register(f"r{extent}", dtype), Var(f"v{extent}")
        body += [
            Set(register, const(1, dtype)),
            For(var, extent, (Accumulate(register, operation, Load(dtype, x, N * 200 + var)),), "vector"),
            Store(y, N * len(TAILS) + number, register.value),
        ]
    check(Kernel("rows", For(N, 3, tuple(body))), machine)


@MACHINES
@pytest.mark.parametrize("extent", [1, 7, 49, 200])
@pytest.mark.parametrize("kind", ["vector", "lanes"])
def test_what_several_loops_accumulate(machine, extent, kind):
    """Over two axes, with a branch, a product and a second accumulator."""
    x, y = source("x", float32, 3 * 5 * extent), target("y", float32, 6)
    total, most = Register("total", float32), Register("most", float32)
    value = Load(float32, x, N * 5 * extent + K * extent + J)
    inner = (Accumulate(total, "add", multiply(value, value)), Accumulate(most, "maximum", value))
    other = Accumulate(total, "add", const(1, float32))
    body = (
        Set(total, const(2, float32)),
        Set(most, const(-1, float32)),
        For(K, 5, (If((within(K, 1, 4),), (For(J, extent, inner, kind),), (other,)),)),
        Store(y, N * 2, total.value),
        Store(y, N * 2 + 1, most.value),
    )
    check(Kernel("axes", For(N, 3, body)), machine)
    body = (*body[:2], For(K, 5, (For(J, extent, inner, kind),)), *body[3:])
    check(Kernel("axes", For(N, 3, body)), machine)


@MACHINES
def test_reductions_of_columns(machine):
    x, y = source("x", float32, 13 * 100), target("y", float32, 100)
    total, most = Register("total", float32), Register("most", float32, (2,))
    value = Load(float32, x, J * 100 + N)
    body = (
        Set(total, const(0, float32)),
        Set(most, const(0, float32), (affine(0),)),
        Set(most, const(1, float32), (affine(1),)),
        For(
            J,
            13,
            (
                Accumulate(total, "add", value),
                For(R, 2, (Set(most, apply("maximum", most[R], value), (affine(R),)),), "unroll"),
            ),
        ),
        Store(y, affine(N), add(total.value, add(most[0], most[1]))),
    )
    check(Kernel("columns", For(N, 100, body, "vector")), machine, ranges=3)


@MACHINES
def test_a_softmax(machine):
    n, rows = 37, 4
    x, y = source("x", float32, rows * n), target("y", float32, rows * n)
    most, total = Register("most", float32), Register("total", float32)
    value = Load(float32, x, N * n + J)
    small = apply("exp", apply("subtract", value, most.value))
    body = (
        Set(most, const(-np.inf, float32)),
        For(J, n, (Accumulate(most, "maximum", value),), "vector"),
        Set(total, const(0, float32)),
        For(J, n, (Store(y, N * n + J, small), Accumulate(total, "add", small)), "vector"),
        For(J, n, (Store(y, N * n + J, apply("divide", Load(float32, y, N * n + J), total.value)),), "vector"),
    )
    kernel = Kernel("softmax", For(N, rows, body))
    content = np.random.default_rng(0).normal(size=(rows, n)).astype(np.float32)
    memory = {x: content.ravel(), y: np.zeros(rows * n, np.float32)}
    run_native(kernel, memory, machine)
    expected = np.exp(content.astype(np.float64) - content.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(memory[y].reshape(rows, n), expected, rtol=1e-6)


# -- registers, branches, tiles ----------------------------------------------------------------------


def tile(m: int, n: int, k: int, rows: int, columns: int, dtype: DType = float32) -> Kernel:
    """C = A B in tiles of registers; the last rows and columns are guarded, the depth is a serial loop."""
    a, b, c = source("a", dtype, m * k), source("b", dtype, k * n), target("c", dtype, m * n)
    acc = Register("acc", dtype, (rows, columns))
    row, column = N * rows + R, J * columns + L
    inside_rows, inside_columns = (within(row, 0, m),), (within(column, 0, n),)

    def all_of(*body: Statement) -> For:
        return For(R, rows, (For(L, columns, body, "lanes"),), "unroll")

    own = (affine(R), affine(L))
    scalar, run = Load(dtype, a, row * k + K, None, inside_rows), Load(dtype, b, K * n + column, None, inside_columns)
    body = (
        all_of(Set(acc, const(0, dtype), own)),
        For(K, k, (all_of(Set(acc, multiply_add(scalar, run, acc[R, L]), own)),)),
        all_of(Store(c, row * n + column, acc[R, L], None, (*inside_rows, *inside_columns))),
    )
    return Kernel("product", For(N, -(-m // rows), (For(J, -(-n // columns), body),)))


@MACHINES
@pytest.mark.parametrize("shape", [(4, 32, 5, 4, 32), (7, 45, 3, 3, 20), (5, 70, 1, 2, 33), (1, 1, 9, 2, 5)])
@pytest.mark.parametrize("dtype", [float32, float64, int32], ids=str)
def test_register_tiles(machine, shape, dtype):
    m, n, k = shape[:3]
    got = check(tile(*shape, dtype), machine)
    expected = got["a"].reshape(m, k) @ got["b"].reshape(k, n)
    np.testing.assert_array_equal(got["c"].reshape(m, n), expected)


@MACHINES
def test_single_numbers_of_a_run_of_lanes(machine):
    """What a lanes loop sets is read and set one by one, and in runs that lie otherwise."""
    run, y = Register("run", float32, (2, 40)), target("y", float32, 100)
    body = (
        For(L, 40, (Set(run, cast(position(L * 2), float32), (affine(0), affine(L))),), "lanes"),
        Set(run, const(7, float32), (affine(0), affine(11))),
        For(K, 3, (Set(run, add(run[0, 11], run[0, 39]), (affine(0), affine(11))),)),
        Store(y, affine(50), add(run[0, 11], run[0, 12])),
        For(R, 30, (Store(y, R + 60, run[0, R + 5]),), "unroll"),
        For(L, 40, (Store(y, affine(L), run[0, L]),), "lanes"),
    )
    check(Kernel("runs", For(N, 1, body)), machine)


@MACHINES
def test_branches_and_what_they_set(machine):
    one, two = Register("one", float32), Register("two", int32)
    y, z = target("y", float32, 9 * 33), target("z", int32, 9 * 33)
    value = Load(float32, source("x", float32, 9 * 33), N * 33 + J)
    body = (
        Set(one, const(5, float32)),
        If(
            (within(N, 2, 6),),
            (Set(one, add(one.value, value)), Set(two, const(3, int32))),
            (Set(two, const(4, int32)), Store(z, N * 33 + J, const(1, int32))),
        ),
        If((within(N, 0, 100),), (Set(one, multiply(one.value, one.value)),)),
        If((within(N, -5, 0),), (Set(one, const(99, float32)),)),
        Store(y, N * 33 + J, one.value),
        Store(z, N * 33 + J, two.value, None, (within(N, 2, 6),)),
    )
    for kind in ("vector", "serial", "lanes"):
        check(Kernel("branches", For(N, 9, (For(J, 33, body, kind),))), machine)


@MACHINES
def test_each_lane_begins_with_what_a_register_held_outside(machine):
    held, y = Register("held", int32), target("y", int32, 300)
    value = Load(int32, source("x", int32, 100), affine(J))
    step = If((within(K, 1, 4),), (Set(held, add(held.value, value)),))
    body = (Set(held, const(10, int32)), For(J, 100, (For(K, 3, (step,)), Store(y, N * 100 + J, held.value)), "vector"))
    check(Kernel("outside", For(N, 3, body)), machine)


@MACHINES
def test_workspace_is_written_and_read_again(machine):
    """Values stored to a local array are seen by later loads, however alike these look."""
    x, y, room = source("x", float32, 4 * 50), target("y", float32, 4 * 50), Array("room", float32, 50, "local")
    again = Load(float32, room, affine(J))
    body = (
        For(J, 50, (Store(room, affine(J), Load(float32, x, N * 50 + J)),), "vector"),
        For(K, 3, (For(J, 50, (Store(room, affine(J), add(again, again)),), "vector"),)),
        For(J, 50, (Store(y, N * 50 + J, add(again, Load(float32, room, affine(3)))),), "vector"),
        Store(room, affine(3), const(1, float32)),
        Store(y, N * 50, Load(float32, room, affine(3))),
    )
    memory = {"x": numbers(x)}
    got = check(Kernel("room", For(N, 4, body)), machine, **memory)
    expected = memory["x"].reshape(4, 50) * 8
    expected = expected + expected[:, 3:4]
    expected[:, 0] = 1
    np.testing.assert_array_equal(got["y"].reshape(4, 50), expected)


@MACHINES
@pytest.mark.parametrize("seed", range(20))
def test_random_kernels(machine, seed):
    made = RandomKernel(seed)
    expected = {array: content.copy() for array, content in made.memory.items()}
    run_kernel(made.kernel, expected)
    run_native(made.kernel, made.memory, machine, ranges=1 + seed % 3)
    for array, content in made.memory.items():
        np.testing.assert_array_equal(content, expected[array], err_msg=f"{array.name}\n{made.kernel}")


@MACHINES
def test_results_do_not_depend_on_how_a_range_is_split(machine):
    """Bit by bit, where rounding matters: whole vectors, their tails and single elements compute the same."""
    n = 203
    x, y, z = source("x", float32, n), source("y", float32, n), target("z", float32, n)
    a, b = Load(float32, x, affine(N)), Load(float32, y, affine(N))
    value = add(multiply(a, b), multiply(apply("exp", a), apply("subtract", multiply(b, b), apply("tanh", b))))
    kernel = Kernel("split", For(N, n, (Store(z, affine(N), value),), "vector"))
    content = np.random.default_rng(0).normal(size=(2, n)).astype(np.float32)
    results = []
    for ranges in (1, 2, 7, n):
        memory = {x: content[0], y: content[1], z: np.zeros(n, np.float32)}
        run_native(kernel, memory, machine, ranges)
        results.append(memory[z].tobytes())
    assert len(set(results)) == 1
