"""Sizes: canonical form, proofs checked against brute force, text, and errors that name the user's sizes."""

from __future__ import annotations

import copy
import itertools
import operator
import os
import pickle
import subprocess
import sys

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from staticnet.compiler import dims
from staticnet.compiler.dims import Dim, ceil_div, divide_exact, maximum, minimum, parse, same, symbol
from staticnet.compiler.errors import ArgumentError, DTypeError, TraceError, UndecidableSizeError

N, M, C = symbol("batch"), symbol("M"), symbol("channels")
NAMES = ("batch", "M", "channels")
OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "max": maximum,
    "min": minimum,
}
PYTHON = OPERATIONS | {"max": max, "min": min}

leaves = st.one_of(st.sampled_from(NAMES), st.integers(-4, 7))
trees = st.recursive(leaves, lambda t: st.tuples(st.sampled_from(sorted(OPERATIONS)), t, t), max_leaves=9)
bindings = st.fixed_dictionaries({name: st.integers(0, 30) for name in NAMES})
SMALL = [dict(zip(NAMES, values, strict=True)) for values in itertools.product(range(5), repeat=3)]


def build(tree):
    if isinstance(tree, tuple):
        return OPERATIONS[tree[0]](build(tree[1]), build(tree[2]))
    return symbol(tree) if isinstance(tree, str) else tree


def meaning(tree, binding):
    if isinstance(tree, tuple):
        return PYTHON[tree[0]](meaning(tree[1], binding), meaning(tree[2], binding))
    return binding[tree] if isinstance(tree, str) else tree


def size_of(tree):
    """The size, or None where it divides by a constant 0."""
    try:
        return build(tree)
    except (ArgumentError, ZeroDivisionError):
        return None


def values_of(tree, candidates=SMALL):
    """(binding, value) wherever the plain arithmetic is defined."""
    for binding in candidates:
        try:
            yield binding, meaning(tree, binding)
        except ZeroDivisionError:
            continue


@settings(max_examples=400, deadline=None)
@given(trees, st.lists(bindings, min_size=3, max_size=3))
def test_dim_arithmetic_means_integer_arithmetic(tree, points):
    size = size_of(tree)
    if size is None:
        return
    assert type(size) in (int, Dim)
    for binding, value in values_of(tree, SMALL + points):
        assert dims.evaluate(size, binding) == value
        assert dims.substitute(size, binding) == value
        low, high = dims.lower_bound(size), dims.upper_bound(size)
        assert (low is None or low <= value) and (high is None or value <= high)


@settings(max_examples=300, deadline=None)
@given(trees, trees)
def test_provable_comparisons_agree_with_brute_force(a, b):
    x, y = size_of(a), size_of(b)
    if x is None or y is None:
        return
    pairs = [(dims.evaluate(x, p), meaning(b, p)) for p, _ in values_of(("+", a, b))]
    for compare in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge):
        try:
            answer = compare(x, y)
        except UndecidableSizeError:
            continue
        assert all(compare(i, j) == answer for i, j in pairs)
    if same(x, y):
        assert all(i == j for i, j in pairs)
    if dims.known_different(x, y):
        assert all(i != j for i, j in pairs)


@settings(max_examples=300, deadline=None)
@given(trees)
def test_text_reads_back_and_copies_are_the_same(tree):
    size = size_of(tree)
    if size is None:
        return
    for other in (parse(str(size)), pickle.loads(pickle.dumps(size)), copy.copy(size), copy.deepcopy(size)):
        assert type(other) is type(size)
        assert same(other, size) and str(other) == str(size) and hash(other) == hash(size)


@settings(max_examples=200, deadline=None)
@given(trees, trees, trees)
def test_ring_laws_give_one_form(a, b, c):
    x, y, z = size_of(a), size_of(b), size_of(c)
    if x is None or y is None or z is None:
        return
    for left, right in [
        (x + y, y + x),
        (x * y, y * x),
        (x + (y + z), (x + y) + z),
        (x * (y * z), (x * y) * z),
        (x * (y + z), x * y + x * z),
        (x - y, -(y - x)),
    ]:
        assert same(left, right) and left == right
        assert str(left) == str(right) and hash(left) == hash(right)
    for kind in (maximum, minimum):
        assert same(kind(x, y), kind(y, x))
    if isinstance(y, Dim):
        assert same(divide_exact(x * y, y), x)
        assert same(x * y // y, x)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (N, "batch"),
        (2 * N + 1, "2*batch + 1"),
        (C * N, "batch*channels"),
        (N * N - 3 * C, "batch**2 - 3*channels"),
        (-N, "-batch"),
        (1 - N, "-batch + 1"),
        (N * 4 // 4, "batch"),
        ((4 * N + 3) // 4, "batch"),
        ((4 * N + M) // 4, "M//4 + batch"),
        (N * C // C, "batch"),
        ((N // 2) // 3, "batch//6"),
        ((N // C) // 2, "batch//(2*channels)"),
        ((N // 2 + 1) // 2, "(batch + 2)//4"),
        ((2 * N + 4) // 6, "(batch + 2)//3"),
        ((2 * N + 1) // 6, "batch//3"),
        ((N + 2 - 3) // 2 + 1, "(batch + 1)//2"),
        ((3 * N * C) // (2 * C), "batch + batch//2"),
        (N * C % C, "0"),
        (N % 1, "0"),
        (N * 4 % 4, "0"),
        (N % 2, "batch - 2*(batch//2)"),
        (N % 4 // 8, "0"),
        (N // (N + 1), "0"),
        ((N * N - 1) // (N + 1), "batch - 1"),
        (divide_exact(N * C * 6, 2 * C), "3*batch"),
        (divide_exact(N * N - C * C, N + C), "batch - channels"),
        (ceil_div(N, 4), "(batch + 3)//4"),
        (maximum(N + 3, N + 1), "batch + 3"),
        (maximum(N, 0), "batch"),
        (maximum(N - 1, 0), "max(batch - 1, 0)"),
        (maximum(maximum(N, M) + 3, C + 3), "max(M, batch, channels) + 3"),
        (maximum(2 * N, 2 * M), "2*max(M, batch)"),
        (minimum(N, 5), "min(batch, 5)"),
        (minimum(N, 3) // 4, "0"),
        (maximum(N - minimum(5, N), 0), "batch - min(batch, 5)"),
        (N - N, "0"),
        (N**3 // N, "batch**2"),
    ],
)
def test_canonical_form(size, text):
    assert str(size) == text
    assert isinstance(size, int) == text.lstrip("-").isdigit()


def test_constants_are_plain_integers():
    for value in (N - N, N * 0, N // N, dims.product([]), divide_exact(6, 3), minimum(numpy.int64(3), 5)):
        assert type(value) is int
    assert type(3 + N) is Dim and repr(2 * N + 1) == "Dim('2*batch + 1')"


def test_numpy_integers_are_sizes():
    three = numpy.int64(3)
    for size in (N + three, three + N):
        assert same(size, N + 3)
    assert same(three * N, 3 * N) and same(three - N, 3 - N) and (three == N + 4) is False
    assert type(dims.as_size(numpy.uint8(7))) is int


@pytest.mark.parametrize("value", [True, 1.0, numpy.float32(1), numpy.bool_(True)])
def test_bool_and_float_are_refused(value):
    for operation in (operator.add, operator.mul, operator.floordiv, operator.mod, operator.sub, operator.truediv):
        with pytest.raises(DTypeError, match="whole number"):
            operation(N, value)
        with pytest.raises(TypeError):
            operation(value, N)
    for function in (maximum, minimum, divide_exact, ceil_div):
        with pytest.raises(TypeError):
            function(N, value)


def test_foreign_types_get_their_turn():
    class Tensor:
        def __rmul__(self, other):
            return "tensor"

        __radd__ = __rsub__ = __rtruediv__ = __rmul__

    assert [N * Tensor(), N + Tensor(), N - Tensor(), N / Tensor()] == ["tensor"] * 4


def test_division_by_zero_and_true_division():
    for divide in (lambda: N // 0, lambda: N % 0, lambda: (N * C) // (C - C), lambda: ceil_div(N, 0)):
        with pytest.raises(ArgumentError, match="divided by 0"):
            divide()
    assert divide_exact(N, 0) is None
    with pytest.raises(DTypeError, match="//"):
        N / 2


def test_what_does_not_divide_is_none():
    assert divide_exact(N, 2) is None and divide_exact(2 * N + 1, 2) is None and divide_exact(N, C) is None


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        (lambda: N * C == C * N, True),
        (lambda: N == N + 1, False),
        (lambda: 2 * N == 1, False),
        (lambda: 4 * N + 2 * C != 3, True),
        (lambda: N >= 0, True),
        (lambda: N < 0, False),
        (lambda: N + 1 > 0, True),
        (lambda: operator.lt(0, N + 1), True),
        (lambda: N % 2 < 2, True),
        (lambda: N % 3 >= 0, True),
        (lambda: N // 2 <= N, True),
        (lambda: N // 2 + (N + 1) // 2 == N, True),
        (lambda: maximum(N - 1, 0) <= N, True),
        (lambda: minimum(N, 5) > 5, False),
        (lambda: bool(N + 1), True),
        (lambda: N == -1, False),
        (lambda: N == None, False),  # noqa: E711
        (lambda: N == "batch", False),
        (lambda: N != None, True),  # noqa: E711
        (lambda: None in (N, 2), False),
    ],
)
def test_provable_statements(statement, answer):
    assert statement() is answer


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (lambda: N == 0, "`batch == 0`"),
        (lambda: N != C + 1, "`batch != channels \\+ 1`"),
        (lambda: N < 5, "`batch < 5`"),
        (lambda: operator.le(5, N), "`batch >= 5`"),
        (lambda: bool(N), "`batch != 0`"),
        (lambda: N // C > M, "`batch//channels > M`"),
    ],
)
def test_undecidable_statements_name_the_sizes_and_the_remedy(statement, text):
    with pytest.raises(UndecidableSizeError, match=text) as caught:
        statement()
    assert "`batch`" in str(caught.value) and "TensorSpec" in str(caught.value) and "test_dims.py" in str(caught.value)


def test_structural_functions():
    assert dims.at_least(N, 0) is True and dims.at_least(-1, N) is False and dims.at_least(N, 1) is None
    assert dims.same_shape((N * C, 3), (C * N, 3)) and not dims.same_shape((N,), (N, 1))
    assert not same(N, C) and not dims.known_different(N, C) and dims.known_different(N, N + 2)
    assert dims.lower_bound(N + 2) == 2 and dims.lower_bound(N - C) is None and dims.lower_bound(-3) == -3
    assert same(dims.product([N, 2, C]), 2 * N * C)
    assert dims.is_static(3) and not dims.is_static(N)
    assert dims.symbols(N // C + maximum(M, 3)) == {"batch", "channels", "M"} and dims.symbols(4) == frozenset()
    assert sorted([N, 7, C, M, 2, N * C], key=dims.sort_key) == [2, 7, M, N, N * C, C]


@pytest.mark.parametrize("use", [int, float, operator.index, range, list, numpy.zeros, lambda d: [1, 2][d]])
def test_a_dim_is_no_number(use):
    with pytest.raises(TypeError):
        use(N)
    with pytest.raises(TraceError, match="`2\\*batch` is not known before the run"):
        int(2 * N)


def test_evaluate():
    assert dims.evaluate(7, {}) == 7
    assert dims.evaluate((N * C + 1) // 2, {"batch": 3, "channels": 5, "unused": 1}) == 8
    with pytest.raises(ArgumentError, match="needs a value for 'channels'"):
        dims.evaluate(N * C, {"batch": 3})
    with pytest.raises(ArgumentError, match="divides by zero"):
        dims.evaluate(N // C, {"batch": 3, "channels": 0})


def test_substitute_replaces_all_at_once():
    assert same(dims.substitute(N - 2 * C, {"batch": C, "channels": N}), C - 2 * N)
    assert same(dims.substitute((N + 1) // 2, {"batch": 2 * C}), C)
    assert dims.substitute(maximum(N - 1, 0), {"batch": numpy.int64(4)}) == 3
    assert dims.substitute(N, {}) is N


@pytest.mark.parametrize(
    ("size", "value", "binding", "expected"),
    [
        (3, 3, {}, {}),
        (3, 4, {}, None),
        (N, 8, {}, {"batch": 8}),
        (N, 8, {"batch": 8}, {}),
        (N, 8, {"batch": 7}, None),
        (2 * N + 1, 9, {}, {"batch": 4}),
        (2 * N + 1, 8, {}, None),
        (N + 5, 3, {}, None),
        (10 - N, 4, {}, {"batch": 6}),
        (N * C, 12, {}, {}),
        (N * C, 12, {"batch": 4}, {"channels": 3}),
        (N * C, 12, {"batch": 5}, None),
        (N // 2, 3, {}, {}),
        (N // 2, 3, {"batch": 7}, {}),
        (N // 2, -1, {}, None),
        (N // C, 3, {"channels": 0}, None),
    ],
)
def test_solve(size, value, binding, expected):
    assert dims.solve(size, value, binding) == expected


@pytest.mark.parametrize(
    "name",
    ["batch", "dim-0", "batch size", "5", "-5", "batch + 1", "2*x + 1", "'x'", "max", "max(a, 0)", "None", "lambda"]
    + ["a'b\"c", "'dim-0'*2", "x\\d", "größe", "ﬁ", "a//0", "a" * 300, "(" * 300, "?", "N*1", " a", "a,b", "''"],
)
def test_any_name_reads_back_alone_and_inside(name):
    lone = symbol(name)
    for size in (lone, 2 * lone + 1, lone // 2, maximum(lone, N), lone * N):
        assert str(parse(str(size))) == str(size)
        assert same(parse(str(size)), size)
        assert dims.symbols(parse(str(size))) <= {name, "batch"}
    assert dims.evaluate(lone + 1, {name: 4}) == 5


def test_only_the_canonical_text_is_an_expression():
    assert dims.symbols(parse("1 + batch")) == {"1 + batch"} and str(parse("1 + batch")) == "1 + batch"
    assert parse("5") == 5 and parse("-5") == -5
    assert str(symbol("dim-0")) == "dim-0" and str(2 * symbol("dim-0")) == "2*'dim-0'"


@pytest.mark.parametrize("name", ["", "a\nb", 3, None, "\x00"])
def test_names_are_validated(name):
    with pytest.raises(ArgumentError, match="non-empty printable"):
        symbol(name)


def test_a_dim_is_immutable():
    with pytest.raises(AttributeError):
        N.polynomial = ()
    assert {N * C: 1}[C * N] == 1
    assert len({k * N + j: 1 for k in range(-20, 20) for j in range(-20, 20)}) == 1600


def test_deep_nesting_has_no_recursion():
    size, expected, binding = N, 10, {"batch": 10, "channels": 3, "M": 2}
    for _ in range(300):
        size, expected = (size * C + 1) // M, (expected * 3 + 1) // 2
    assert dims.evaluate(size, binding) == expected == dims.substitute(size, binding)


def test_text_is_the_same_in_every_process():
    script = (
        "from staticnet.compiler.dims import *\n"
        "a, b, c, d = (symbol(n) for n in ('batch', 'channels', 'dim-0', 'height'))\n"
        "x = (a + b + c*d + 3)**2 // 7 + maximum(a*b, minimum(c + 1, d)) - a*c // b\n"
        "print(x, sorted([x, a, b, c * 2, 4], key=sort_key))"
    )
    texts = set()
    for seed in ("0", "1", "12345"):
        variables = os.environ | {"PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=True)
        texts.add(run.stdout)
    assert len(texts) == 1 and "batch" in texts.pop()
