"""Matrix products as loops: every way to make one against NumPy, interpreted and compiled, however it is shared out."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from staticnet.compiler.codegen.loops import products
from staticnet.compiler.codegen.loops.describe import ANCHORS
from staticnet.compiler.codegen.loops.form import (
    Affine,
    Array,
    For,
    Kernel,
    Register,
    Routine,
    Set,
    Store,
    Var,
    View,
    affine,
    const,
    load,
    store,
)
from staticnet.compiler.codegen.loops.form import Load as LoadValue
from staticnet.compiler.codegen.loops.interpret import run_routine
from staticnet.compiler.codegen.loops.operations import add, apply
from staticnet.compiler.codegen.loops.products_dots import Dots
from staticnet.compiler.codegen.loops.products_outer import Outer
from staticnet.compiler.codegen.loops.tiles import Names, Segment, blocks, choose_tile, each_piece, split
from staticnet.compiler.codegen.machine import SMALL
from staticnet.compiler.dtypes import as_dtype
from staticnet.compiler.ir import Layout
from staticnet.compiler.ops.matmul import MatMul
from tests.compiler.codegen.native import host, run_native, smaller_machines
from tests.compiler.codegen.placed import WIDE, Placed, Placement, garbage

#: row-major; transposed; with gaps; backwards
DENSE, TURNED, GAPS, BACK = "dense", "turned", "gaps", "back"
PLACES = [
    (DENSE, DENSE, DENSE),
    (TURNED, DENSE, DENSE),
    (DENSE, TURNED, DENSE),
    (TURNED, TURNED, TURNED),
    (GAPS, BACK, TURNED),
]


def place(name, array, role, number, kind):
    order = list(range(array.ndim))
    if kind == TURNED:
        order[-2:] = order[:-3:-1]
    flipped = tuple(range(array.ndim)) if kind == BACK else ()
    return Placement(tuple(order), 3 if kind == GAPS else 1, flipped).place(name, array, role, number)


def numbers(shape, dtype, seed=0):
    generator, dtype = np.random.default_rng([seed, *shape]), np.dtype(dtype)
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    info = np.iinfo(dtype)
    return generator.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


class Case:
    """Two operands in memory, room for their product, and what it should be."""

    def __init__(self, x, y, dtype="float32", places=PLACES[0]):
        x, y = (each if isinstance(each, np.ndarray) else numbers(each, dtype) for each in (x, y))
        self.x, self.y = place("x", x, "input", 0, places[0]), place("y", y, "input", 1, places[1])
        wide = np.float32 if x.dtype == np.float16 else x.dtype
        with np.errstate(all="ignore"):
            self.expected = np.matmul(x.astype(wide), y.astype(wide)).astype(x.dtype)
        if x.dtype.kind == "f":
            self.scale = np.matmul(np.abs(x.astype(np.float64)), np.abs(y.astype(np.float64)))
        self.depth, self.places = x.shape[-1], places
        self.out: Placed
        self.clear()

    def clear(self):
        self.out = place(
            "out",
            garbage(self.expected.size, self.expected.dtype).reshape(self.expected.shape),
            "output",
            0,
            self.places[2],
        )

    @property
    def views(self):
        return [self.x.view, self.y.view], self.out.view

    def memory(self):
        return {placed.view.array: placed.memory for placed in (self.x, self.y, self.out)}

    def finish(self, index, value):
        return [store(self.out.view, index, value)]

    def ways(self, machine):
        inputs, out = self.views
        return products.ways(products.as_product("matmul", inputs, out, self.finish, machine))

    def routine(self, machine):
        inputs, out = self.views
        return products.product(MatMul(), inputs, out, self.finish, machine)

    def check(self, routine, run=run_routine):
        self.clear()
        run(routine, self.memory())
        got = np.array(self.out.seen)
        if got.dtype.kind != "f":
            np.testing.assert_array_equal(got, self.expected)
            return got
        error = np.abs(got.astype(np.float64) - self.expected.astype(np.float64))
        # A sum of n products in any order, each rounded, is this near to the exact one, and so is NumPy's.
        sums = np.finfo(np.float32 if got.dtype == np.float16 else got.dtype).eps
        bound = 2 * (self.depth + 1) * sums * self.scale + np.finfo(got.dtype).eps * np.abs(self.expected)
        assert np.all(error <= bound.astype(np.float64)), error.max()
        return got


SHAPES = [(1, 9, 1), (2, 0, 17), (5, 1, 2), (17, 9, 18), (1, 33, 33), (33, 5, 1), (2, 33, 35), (33, 7, 20)]


@pytest.mark.parametrize("places", PLACES, ids="-".join)
@pytest.mark.parametrize("machine", [SMALL, WIDE], ids=["small", "wide"])
def test_every_way_interpreted(places, machine):
    kinds = set()
    for m, k, n in SHAPES:
        case = Case((m, k), (k, n), places=places)
        for way in case.ways(machine):
            case.check(way.routine())
            kinds.add((type(way), getattr(way, "packs", None), getattr(way, "crosses", None)))
    assert {kind[1] for kind in kinds if kind[0] is Outer} == {False, True}
    assert {kind[2] for kind in kinds if kind[0] is Outer} == {False, True}
    if places[:2] == (DENSE, TURNED):
        assert Dots in {kind[0] for kind in kinds}


@pytest.mark.parametrize(
    "dtype", ["float16", "float64", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"]
)
def test_other_dtypes(dtype):
    for places, machine in itertools.product(PLACES[::2], [SMALL, WIDE]):
        case = Case((17, 9), (9, 5), dtype, places)
        for way in case.ways(machine):
            case.check(way.routine())


@pytest.mark.parametrize(
    "x, y",
    [
        ((3, 4, 5), (3, 5, 6)),
        ((3, 1, 5), (5, 6)),
        ((2, 1, 4, 5), (3, 5, 2)),
        ((20, 2, 5), (5, 6)),
        ((4, 5), (20, 5, 3)),
        ((2, 3, 4, 5), (1, 3, 5, 6)),
    ],
)
def test_stacks(x, y):
    for places, machine in itertools.product(PLACES[:4], [SMALL, WIDE]):
        case = Case(x, y, places=places)
        for way in case.ways(machine):
            case.check(way.routine())


@pytest.mark.parametrize("x, y", [((0, 3), (3, 4)), ((3, 4), (4, 0)), ((0, 2, 3), (3, 4)), ((0, 0), (0, 0))])
def test_no_results_no_kernels(x, y):
    assert Case(x, y).routine(WIDE) == Routine()


def test_broadcast_memory():
    x = numbers((4, 6), "float32")
    row = np.broadcast_to(x[:1], (4, 6))
    case = Case(row, numbers((6, 5), "float32"))
    view = View(Array("x", as_dtype("float32"), 6, "input", 0), Layout((4, 6), (0, 1)))
    case.x = Placed(view, np.array(x[0]), row)
    for way in case.ways(WIDE):
        case.check(way.routine())


# -- compiled ---------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", smaller_machines(), ids=lambda machine: f"{machine.vector_bytes}bytes")
@pytest.mark.parametrize("number", range(6))
def test_every_way_compiled(machine, number):
    shapes = [
        ((33, 17), (17, 40)),
        ((16, 65), (65, 16)),
        ((2, 31), (31, 17)),
        ((1, 70), (70, 9)),
        ((3, 30, 5), (3, 5, 31)),
        ((65, 3), (3, 1)),
    ]
    dtypes = ["float32", "float32", "float64", "float32", "int32", "float16"]
    case = Case(*shapes[number], dtypes[number], PLACES[(number + 1) % 5])
    for way in case.ways(machine):
        parts = case.check(way.routine(), lambda routine, memory: run_native(routine, memory, machine, 3))
        if machine is host():
            whole = case.check(way.routine(), lambda routine, memory: run_native(routine, memory, machine))
            np.testing.assert_array_equal(whole, parts)


def test_deep_sums_are_shared_out():
    case = Case((3, 9001), (9001, 5))
    routine = case.routine(host())
    assert routine.kernels[0].loop.extent > 4 and routine.kernels[-1].name == "matmul_sum"
    whole = case.check(routine, run_native)
    parts = case.check(routine, lambda routine, memory: run_native(routine, memory, None, 4))
    np.testing.assert_array_equal(whole, parts)
    stacked = Case((2, 2, 5000), (5000, 3))
    chunked = products.in_chunks(products.as_product("matmul", *stacked.views, stacked.finish, host()), 3)
    stacked.check(chunked, run_native)
    turned = Case((2, 5000), (5000, 3), places=(DENSE, DENSE, TURNED))
    turned.check(turned.routine(host()), run_native)


def test_lines_that_share_places_in_the_cache_are_copied():
    for x in (DENSE, TURNED):
        machine = replace(SMALL, l2_bytes=1 << 14)
        shape = (20, 1024) if x == DENSE else (1024, 20)
        case = Case(shape, (shape[1], 40), places=(x, DENSE, DENSE))
        way = Outer(products.as_product("matmul", *case.views, case.finish, machine), True)
        assert way.pads, x
        routine = way.routine()
        assert routine.kernels[0].name == "matmul_lines"
        case.check(
            routine,
            lambda routine, memory, machine=machine: run_native(routine, memory, replace(host(), vector_bytes=16)),
        )


def test_half_precision_sums_in_single():
    x, y = np.full((3, 300), 0.25, np.float16), np.full((300, 5), 16.5, np.float16)
    for way in (case := Case(x, y)).ways(WIDE):
        np.testing.assert_array_equal(case.check(way.routine()), np.float16(300 * 4.125))


# -- what is done with results ------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 40], ids=["short", "long"])
def test_finish(count):
    """Results go where finish puts them, with a bias and as many operations as it likes."""
    dtype = as_dtype("float32")
    bias = Array("bias", dtype, 18, "input", 2)
    other = numbers((18,), "float32", 3)
    anchor = ANCHORS[MatMul]
    for places in ((DENSE, TURNED, DENSE), (TURNED, DENSE, TURNED)):
        case = Case((30, 7), (7, 18), places=places)

        def finish(index, value, case=case):
            value = add(value, LoadValue(dtype, bias, affine(index[-1])))
            for _ in range(count):
                value = apply("maximum", apply("multiply", value, const(-0.5, dtype)), value)
            return [store(case.out.view, index, value)]

        expected = case.expected + other
        for _ in range(count):
            expected = np.maximum(expected * np.float32(-0.5), expected)
        inputs, out = case.views
        product = products.as_product("matmul", inputs, out, finish, host())
        routines = [way.routine() for way in products.ways(product)]
        routines.append(anchor(MatMul(), inputs, out, finish, host()))
        for routine in routines:
            case.clear()
            run_native(routine, {**case.memory(), bias: other})
            np.testing.assert_allclose(case.out.seen, expected, rtol=1e-5, atol=1e-5)


# -- registers read across ----------------------------------------------------------------------


@pytest.mark.parametrize("machine", smaller_machines(), ids=lambda machine: f"{machine.vector_bytes}bytes")
@pytest.mark.parametrize(
    "dtype, rows, columns",
    [
        ("float32", 16, 16),
        ("float32", 5, 16),
        ("float32", 16, 3),
        ("float32", 4, 33),
        ("float64", 8, 20),
        ("float16", 1, 9),
        ("int32", 16, 20),
        ("int64", 3, 9),
        ("uint8", 4, 70),
    ],
)
def test_registers_read_across(machine, dtype, rows, columns):
    dtype = as_dtype(dtype)
    x, y = Array("x", dtype, rows * columns, "input"), Array("y", dtype, rows * columns, "output")
    block = Register("block", dtype, (rows, columns))
    row, lane, column, across = Var("row"), Var("lane"), Var("column"), Var("across")
    first = For(
        row,
        rows,
        (
            For(
                lane,
                columns,
                (Set(block, LoadValue(dtype, x, row * columns + lane), (affine(row), affine(lane))),),
                "lanes",
            ),
        ),
        "unroll",
    )
    second = For(
        column,
        columns,
        (For(across, rows, (Store(y, column * rows + across, block[across, column]),), "lanes"),),
        "unroll",
    )
    kernel = Kernel("turn", For(Var("once"), 1, (first, second)))
    content = numbers((rows, columns), dtype.numpy)
    for run in (run_routine, lambda routine, memory: run_native(routine, memory, machine)):
        memory = {x: content.ravel(), y: garbage(rows * columns, dtype.numpy)}
        run(Routine((kernel,)), memory)
        np.testing.assert_array_equal(memory[y].reshape(columns, rows), content.T)


# -- tiles --------------------------------------------------------------------------------------


def covered(segments):
    return [
        segment.start + number * segment.size + i
        for segment in segments
        for number in range(segment.count)
        for i in range(segment.size)
    ]


@pytest.mark.parametrize("total", [0, 1, 2, 7, 14, 15, 100, 256])
@pytest.mark.parametrize("most", [1, 3, 14, 300])
def test_pieces_cover_everything_once(total, most):
    even, whole = split(total, most), blocks(total, most)
    assert covered(even) == covered(whole) == list(range(total))
    sizes = [segment.size for segment in even]
    assert not sizes or (max(sizes) <= most and max(sizes) - min(sizes) <= 1)
    assert sum(segment.count for segment in even) == sum(segment.count for segment in whole) == -(-total // most)


def test_each_piece():
    out = Array("out", as_dtype("int64"), 17, "output")
    names = Names()

    def body(number: Affine, start: Affine, size: int):
        lane = names("lane")
        return [For(lane, size, (Store(out, start + lane, const(size, as_dtype("int64"))),), "vector")]

    memory = {out: np.zeros(17, np.int64)}
    segments = [Segment(0, 5, 2), Segment(10, 4, 1), Segment(14, 3, 1)]
    run_routine(Routine((Kernel("pieces", each_piece(segments, names("piece"), body)),)), memory)
    assert memory[out].tolist() == [5] * 10 + [4] * 4 + [3] * 3


@pytest.mark.parametrize("lanes, registers", [(16, 32), (8, 16), (4, 16)])
def test_tiles_fit_into_registers(lanes, registers):
    for rows, columns, depth in itertools.product([1, 3, 14, 256], [1, 10, 100, 256], [0, 5, 784]):
        tile = choose_tile(rows, columns, depth, lanes, registers)
        assert 1 <= tile.rows <= rows and (tile.vectors - 1) * lanes < columns
        loaded = tile.vectors if tile.rows > 1 else 1
        assert tile.rows * tile.vectors + loaded + 1 <= registers
    assert choose_tile(256, 256, 784, lanes, registers).rows >= 5


def test_the_way_follows_from_where_operands_lie():
    """W of a linear layer is read as it lies by one row of x, and packed for many."""

    def chosen(m, k, n, places):
        return min(Case((m, k), (k, n), places=places).ways(replace(WIDE, l2_bytes=1 << 20)), key=lambda way: way.slots)

    assert isinstance(chosen(1, 784, 256, (DENSE, TURNED, DENSE)), Dots)
    many = chosen(256, 784, 256, (DENSE, TURNED, DENSE))
    assert isinstance(many, Outer) and many.packs
    gradient = chosen(256, 256, 784, (TURNED, DENSE, DENSE))
    assert isinstance(gradient, Outer) and not gradient.packs and not gradient.crosses


def test_load_helper_reads_views():
    """`load` and the products' own addressing agree on a view with an offset."""
    case = Case((3, 4), (4, 5), places=(BACK, GAPS, DENSE))
    side = products.as_product("matmul", *case.views, case.finish, SMALL).x
    value = load(case.x.view, 2, 3)
    assert side.load(2, 3, as_dtype("float32")) == value
