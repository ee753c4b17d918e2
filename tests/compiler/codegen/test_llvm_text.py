"""The LLVM IR itself: equal kernels have equal text, and nothing is printed twice or inside a loop without need."""

from __future__ import annotations

import re
from dataclasses import replace

from staticnet.compiler.codegen.llvm.emit import print_kernel
from staticnet.compiler.codegen.loops.form import (
    Accumulate,
    Array,
    For,
    Kernel,
    Load,
    Register,
    Set,
    Store,
    Var,
    affine,
    const,
)
from staticnet.compiler.codegen.loops.operations import add, apply, multiply, multiply_add
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.dtypes import float32
from tests.compiler.codegen.kernel_checks import J, K, L, N, R, pointwise, source, target

WIDE = Machine("znver4", "+avx,+avx2,+fma,+avx512f,+avx512bw,+avx512vl", "x86_64-unknown-linux-gnu", 64, 32)


def printed(kernel: Kernel, machine: Machine = WIDE) -> str:
    return print_kernel(kernel, machine, "kernel")


def blocks(text: str) -> dict[str, str]:
    """The basic blocks of the function by their labels."""
    parts = re.split(r"^(\w+):\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def loops(text: str) -> list[str]:
    """The blocks that jump to themselves: innermost loops."""
    return [body for label, body in blocks(text).items() if f"label %{label}," in body]


def rows(names: str, extent: int, kind: str = "serial") -> Kernel:
    """A sum of rows, its names made from given letters."""
    outer, inner, register, x, y = (name * 3 for name in names)
    row, column, total = Var(outer), Var(inner), Register(register, float32)
    data, result = Array(x, float32, 1000, "input"), Array(y, float32, 100, "output")
    value = multiply(Load(float32, data, row * 64 + column), const(3, float32))
    body = (
        Set(total, const(0, float32)),
        For(column, 64, (Accumulate(total, "add", value),), kind),
        Store(result, affine(row), total.value),
    )
    return Kernel(names, For(row, extent, body))


def test_names_and_the_outer_extent_do_not_matter():
    for kind in ("serial", "vector", "lanes"):
        assert printed(rows("abcde", 10, kind)) == printed(rows("zyxwv", 77, kind))
    assert printed(rows("abcde", 10)) != printed(rows("abcde", 10, "vector"))


def test_machines_matter():
    narrow = replace(WIDE, vector_bytes=32, features="+avx,+avx2,+fma")
    text = printed(rows("abcde", 10, "vector"), narrow)
    assert '"prefer-vector-width"="256"' in text and '"target-features"="+avx,+avx2,+fma"' in text
    assert "load <32 x float>" in text and "<64 x float>" not in text
    assert "llvm.fma" in printed(rows("abcde", 10))
    assert "llvm.fma" not in printed(rows("abcde", 10), replace(WIDE, has_fma=False))


def test_equal_instructions_are_printed_once():
    x = Load(float32, source("x", float32, 100), affine(N))
    y = Load(float32, source("x", float32, 100), affine(N))
    value = add(apply("sqrt", x), multiply(apply("sqrt", y), apply("sqrt", x)))
    body = (Store(target("y", float32, 100), affine(N), value), Store(target("z", float32, 100), affine(N), value))
    text = printed(Kernel("twice", For(N, 100, body)))
    assert text.count("= load ") == 1
    assert len(re.findall(r"= call float @llvm\.sqrt", text)) == 1


def test_what_a_loop_does_not_change_is_printed_before_it():
    """Scalars of the whole kernel before its loop, those of a row before the loop over the row."""
    whole, row = source("whole", float32, 1), source("row", float32, 10)
    factor = apply("sqrt", Load(float32, whole, affine(0)))
    scale = apply("reciprocal", add(factor, Load(float32, row, affine(N))))
    value = multiply(Load(float32, source("x", float32, 1000), N * 100 + J), scale)
    body = For(J, 100, (Store(target("y", float32, 1000), N * 100 + J, value),))
    text = printed(Kernel("scaled", For(N, 10, (body,))))
    (inner,) = loops(text)
    assert "sqrt" in blocks(text)["start"]
    assert "fdiv" not in inner and "fadd" not in inner and inner.count("= load ") == 1
    vector = printed(Kernel("scaled", For(N, 10, (replace(body, kind="vector"),))))
    assert "sqrt" in blocks(vector)["start"]


def test_loads_stay_behind_stores_to_their_array():
    room, x = Array("room", float32, 8, "local"), Load(float32, source("x", float32, 100), affine(N))
    read = Load(float32, room, affine(0))
    inner = For(J, 5, (Store(room, affine(0), add(read, x)),))
    text = printed(Kernel("room", For(N, 100, (inner,))))
    (loop,) = loops(text)
    assert loop.count("= load ") == 1 and text.count("= load ") == 2


def test_a_reduction_over_two_axes_is_finished_once():
    total = Register("total", float32)
    value = Load(float32, source("x", float32, 6400), N * 640 + K * 64 + J)
    inner = For(J, 64, (Accumulate(total, "add", value),), "vector")
    result = Store(target("y", float32, 10), affine(N), total.value)
    body = (Set(total, const(0, float32)), For(K, 10, (inner,)), result)
    text = printed(Kernel("axes", For(N, 10, body)))
    (loop,) = loops(text)
    assert "shufflevector" not in loop and "phi <64 x float>" in loop
    assert text.count("extractelement") == 2


def test_the_loop_of_a_register_tile_holds_only_what_it_must():
    """One load for each scalar and vector, one fused instruction for each pair, and addresses from one base."""
    row_count, columns, depth, width = 6, 32, 64, 96
    a, b, c = source("a", float32, 6 * 64), source("b", float32, 64 * 96), target("c", float32, 6 * 96)
    acc, own = Register("acc", float32, (row_count, columns)), (affine(R), affine(L))

    def all_of(statement: Set | Store) -> For:
        return For(R, row_count, (For(L, columns, (statement,), "lanes"),), "unroll")

    product = multiply_add(Load(float32, a, R * depth + K), Load(float32, b, K * width + N * columns + L), acc[R, L])
    body = (
        all_of(Set(acc, const(0, float32), own)),
        For(K, depth, (all_of(Set(acc, product, own)),)),
        all_of(Store(c, R * width + N * columns + L, acc[R, L])),
    )
    (loop,) = loops(printed(Kernel("tile", For(N, 3, body))))
    assert loop.count("= phi <16 x float>") == row_count * 2
    assert loop.count("@llvm.fma.v16f32") == row_count * 2
    assert loop.count("= load ") == row_count + 2
    assert loop.count("mul i64") == 1


def test_full_vectors_carry_no_mask():
    text = printed(pointwise(100, target("y", float32, 100), Load(float32, source("x", float32, 100), affine(N))))
    main, tail = loops(text)
    assert "masked" not in main and "load <64 x float>" in main
    assert "llvm.masked.load.v16f32" in tail and "llvm.masked.store.v16f32" in tail
