"""Every rewrite rule is an equation: both sides are computed, on ordinary numbers and on the awkward ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import staticnet.compiler.ops  # noqa: F401 - fills the registry
from staticnet.compiler import dtypes
from staticnet.compiler.errors import CompilerError, DTypeError, ShapeError
from staticnet.compiler.evaluate import evaluate
from staticnet.compiler.ir import Builder, Graph, Node, Type, building, topological
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.leaf import make_input
from staticnet.compiler.rewrite import pattern as patterns
from staticnet.compiler.rewrite.engine import Rule, RuleSet, all_rules, rewrite
from staticnet.compiler.rewrite.exact import EXACT
from staticnet.compiler.rewrite.fast import FAST
from staticnet.compiler.rewrite.stable import STABLE

FLOATS = ("float32", "float64")
EXACT_DTYPES = (*FLOATS, "float16", "int32", "int64", "int8", "uint8", "uint64", "bool")
FAST_DTYPES = (*FLOATS, "int32", "int8", "uint8")
#: shapes of the first value and of the others; the first row is the one on which a rule must fire
SHAPES = (
    ((2, 3), (2, 3)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 1), (1, 3)),
    ((), (2, 3)),
    ((2, 3), ()),
    ((), ()),
    ((0, 3), (3,)),
)
ROUNDS = 12


def special(dtype: str) -> list[Any]:
    """Numbers that break careless algebra."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return [False, True]
    if kind in "iu":
        info = np.iinfo(dtype)
        edges = [info.min, info.min + 1, 0, 1, 2, 3, info.max - 1, info.max]
        return [*edges, *((-1, -2) if kind == "i" else ())]
    info = np.finfo(dtype)
    least = float(info.smallest_subnormal)
    numbers = [0.0, 1.0, 0.5, 1.0 / 3.0, 3.0, 1e4, float(info.max), float(info.tiny), least, 3 * least, np.inf]
    return [np.nan, *numbers, *(-number for number in numbers)]


def ordinary(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, low: float = -2.0) -> np.ndarray:
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.random(shape) < 0.5
    return rng.uniform(low if kind != "u" else 0, 2.0 if kind == "f" else 9.0, shape).astype(dtype)


def awkward(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return rng.choice(np.array(special(dtype), dtype), shape)


class Instance:
    """The left side of a rule on inputs of given shapes, or on none when the pattern does not take them."""

    def __init__(self, rule: Rule, dtype: str, shapes: tuple[tuple[int, ...], ...], constants: dict[str, Any]):
        values, attributes = patterns.names(rule.left)
        bindings: dict[str, Any] = {name: _attribute(rule.example[name]) for name in attributes}
        variables = [name for name in values if name[0].islower()]
        bindings |= {name: F.constant(constants[name], dtype) for name in values if name[0].isupper()}
        self.inputs: dict[str, Node] = {}
        for kinds in itertools.product((dtype, "bool"), repeat=len(variables)):
            for position, (name, kind) in enumerate(zip(variables, kinds, strict=True)):
                shape = rule.example.get(f"{name}_shape", shapes[min(position, 1)])
                self.inputs[name] = bindings[name] = make_input(name, Type(shape, kind))
            try:
                self.left = patterns.instantiate(rule.left, bindings, dtype)
                return
            except (DTypeError, OverflowError):  # a number of the pattern does not fit the dtype
                continue
        raise DTypeError(f"{rule.equation} has no meaning in {dtype}")

    def arrays(self, draw: Any, rng: np.random.Generator) -> dict[Node, np.ndarray]:
        return {node: draw(rng, node.shape, node.dtype.name) for node in self.inputs.values()}


def _attribute(value: Any) -> Any:
    return dtypes.as_dtype(value) if isinstance(value, str) else value


def constants_of(rule: Rule, dtype: str) -> Iterator[dict[str, Any]]:
    names = [name for name in patterns.names(rule.left)[0] if name[0].isupper()]
    is_float = np.dtype(dtype).kind == "f"
    first = [0.5, 3.0] if is_float else [2, 3]
    yield dict(zip(names, itertools.cycle(first), strict=False))
    pool = [v for v in special(dtype) if is_float or abs(int(v)) > 1]
    if names:
        for chosen in itertools.product(pool, repeat=len(names)):
            yield dict(zip(names, chosen, strict=True))


def fired(rule: Rule, dtypes_tried: tuple[str, ...]) -> Iterator[tuple[str, bool, Instance, Node]]:
    """Each way in which the rule fires: dtype, whether shapes and constants are ordinary, both sides."""
    for dtype in dtypes_tried:
        for place, shapes in enumerate(SHAPES):
            for count, constants in enumerate(constants_of(rule, dtype)):
                if place and count:
                    break
                with building(Builder(intern=True)):
                    try:
                        instance = Instance(rule, dtype, shapes, constants)
                    except (DTypeError, ShapeError):
                        continue
                    right = rule.apply(instance.left)
                if right is None:
                    continue
                assert right.type == instance.left.type, f"{rule.equation} changes the type in {dtype}"
                assert patterns.may_match(rule.left, [source.op.name for source in instance.left.inputs]), rule.equation
                yield dtype, not place and not count, instance, right


def both_sides(instance: Instance, right: Node, arrays: dict[Node, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    left_value, right_value = evaluate([instance.left, right], arrays)
    assert left_value.dtype == right_value.dtype
    return np.array(left_value), np.array(right_value)


def assert_same_bits(left: np.ndarray, right: np.ndarray, what: str) -> None:
    if left.dtype.kind == "f":
        np.testing.assert_array_equal(np.isnan(left), np.isnan(right), err_msg=f"{what}: NaN in other places")
        left, right = np.where(np.isnan(left), 0, left), np.where(np.isnan(right), 0, right)
        np.testing.assert_array_equal(np.signbit(left), np.signbit(right), err_msg=f"{what}: sign of zero")
    np.testing.assert_array_equal(left, right, err_msg=what)


def describe(equation: str, dtype: str, arrays: dict[Node, np.ndarray]) -> str:
    return f"{equation} in {dtype} at {[array.tolist() for array in arrays.values()]}"


def _ids(rules: RuleSet) -> Any:
    named = [(f"{rule.equation} where" if rule.where else rule.equation, rule) for rule in rules.rules]
    return pytest.mark.parametrize("rule", [rule for _, rule in named], ids=[name for name, _ in named])


@_ids(EXACT)
def test_both_sides_of_an_exact_rule_are_equal_bit_by_bit(rule: Rule, rng: np.random.Generator) -> None:
    ordinary_dtypes = set()
    for dtype, is_ordinary, instance, right in fired(rule, EXACT_DTYPES):
        if is_ordinary:
            ordinary_dtypes.add(dtype)
        for draw in (ordinary, *[awkward] * ROUNDS):
            arrays = instance.arrays(draw, rng)
            assert_same_bits(*both_sides(instance, right, arrays), describe(rule.equation, dtype, arrays))
    assert ordinary_dtypes, f"{rule.equation} fires on none of {EXACT_DTYPES}"
    assert ordinary_dtypes.isdisjoint(FLOATS) or ordinary_dtypes >= set(FLOATS)


@_ids(FAST)
def test_a_fast_rule_changes_rounding_and_never_makes_nan_of_a_number(rule: Rule, rng: np.random.Generator) -> None:
    ordinary_dtypes = set()
    for dtype, is_ordinary, instance, right in fired(rule, FAST_DTYPES):
        if is_ordinary:
            ordinary_dtypes.add(dtype)
            arrays = instance.arrays(ordinary, rng)
            left, fast = both_sides(instance, right, arrays)
            if left.dtype.kind == "f":
                where = np.isfinite(left)
                np.testing.assert_allclose(
                    fast[where], left[where], rtol=4 * np.finfo(dtype).eps, err_msg=rule.equation
                )
            else:
                np.testing.assert_array_equal(left, fast, err_msg=rule.equation)
        for _ in range(ROUNDS // 4):
            arrays = instance.arrays(awkward, rng)
            left, fast = both_sides(instance, right, arrays)
            if left.dtype.kind == "f":
                # Within a few ulp of overflow it is rounding that decides which side of it a number falls on.
                is_brink = np.isinf(fast) & (np.abs(left) > np.finfo(dtype).max * (1 - 4 * np.finfo(dtype).eps))
                broken = np.isfinite(left) & ~np.isfinite(fast) & ~is_brink
                assert not broken.any(), describe(rule.equation, dtype, arrays)
            else:
                np.testing.assert_array_equal(left, fast, err_msg=describe(rule.equation, dtype, arrays))
    assert ordinary_dtypes >= set(FLOATS), f"{rule.equation} fires on {ordinary_dtypes} only"


@_ids(STABLE)
def test_a_stable_rule_means_the_same_where_the_naive_form_is_well(rule: Rule, rng: np.random.Generator) -> None:
    ordinary_dtypes = set()
    low = rule.example.get("x_low", -2.0)
    for dtype, is_ordinary, instance, right in fired(rule, FLOATS):
        if is_ordinary:
            ordinary_dtypes.add(dtype)
        arrays = instance.arrays(lambda *args: ordinary(*args, low=low), rng)
        left, stable = both_sides(instance, right, arrays)
        where = np.isfinite(left)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(stable[where], left[where], rtol=64 * eps, atol=64 * eps, err_msg=rule.equation)
        has_lines = "axes" in rule.equation or "axis" in rule.equation
        for _ in range(ROUNDS):
            arrays = instance.arrays(awkward, rng)
            if has_lines:  # one infinity in a line takes all of it along
                arrays = {node: np.where(np.isinf(array), 0, array) for node, array in arrays.items()}
            left, stable = both_sides(instance, right, arrays)
            assert not (np.isfinite(left) & np.isnan(stable)).any(), describe(rule.equation, dtype, arrays)
    assert ordinary_dtypes == set(FLOATS), f"{rule.equation} fires on {ordinary_dtypes} only"


#: where the naive form overflows, cancels or vanishes, and what is true there
EXTREMES: dict[str, tuple[list[float], list[float]]] = {
    "log(softmax(x, axis=a)) = log_softmax(x, axis=a)": ([1e4, 0.0, -1e4], [0.0, -1e4, -2e4]),
    "exp(log_softmax(x, axis=a)) = softmax(x, axis=a)": ([1e4, 0.0, -1e4], [1.0, 0.0, 0.0]),
    "log(sum(exp(x), axes=a, keepdims=k)) = logsumexp(x, axis=a, keepdims=k)": ([1e4, 1e4, -1e4], [1e4 + np.log(2)]),
    "exp(x) / sum(exp(x), axes=a, keepdims=True) = softmax(x, axis=a[0])": ([1e4, 1e4, -1e4], [0.5, 0.5, 0.0]),
    "x - log_sum_exp(x, axes=a, keepdims=True) = log_softmax(x, axis=a[0])": ([1e4, 0.0, -1e4], [0.0, -1e4, -2e4]),
    "1 / (1 + exp(-x)) = sigmoid(x)": ([1e4, 0.0, -1e4], [1.0, 0.5, 0.0]),
    "reciprocal(1 + exp(-x)) = sigmoid(x)": ([1e4, 0.0, -1e4], [1.0, 0.5, 0.0]),
    "log(sigmoid(x)) = -softplus(-x)": ([1e4, 0.0, -1e4], [0.0, -np.log(2), -1e4]),
    "log(1 - sigmoid(x)) = -softplus(x)": ([1e4, 0.0, -1e4], [-1e4, -np.log(2), 0.0]),
    "log(1 + exp(x)) = softplus(x)": ([1e4, 0.0, -1e4], [1e4, np.log(2), 0.0]),
    "log1p(exp(x)) = softplus(x)": ([1e4, 0.0, -1e4], [1e4, np.log(2), 0.0]),
    "log(1 + x) = log1p(x)": ([1e-30, 0.0, 1.0], [1e-30, 0.0, np.log(2)]),
    "exp(x) - 1 = expm1(x)": ([1e-30, 0.0, -1e4], [1e-30, 0.0, -1.0]),
    "sqrt(square(x)) = absolute(x)": ([1e30, -1e-30, 0.0], [1e30, 1e-30, 0.0]),
    "log(exp(x)) = x": ([1e4, 0.0, -1e4], [1e4, 0.0, -1e4]),
}


@_ids(STABLE)
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_stable_rule_is_right_where_the_naive_form_is_not(rule: Rule, dtype: str) -> None:
    given, expected = EXTREMES[rule.equation]
    with building(Builder(intern=True)):
        instance = Instance(rule, dtype, ((1, 3), (1, 3)), {})
        right = rule.apply(instance.left)
    assert right is not None
    (x,) = instance.inputs.values()
    _, stable = both_sides(instance, right, {x: np.array([given], dtype)})
    np.testing.assert_allclose(stable, [expected], rtol=2e-7)


def test_every_stable_rule_has_its_extreme() -> None:
    assert set(EXTREMES) == {rule.equation for rule in STABLE.rules}


def test_all_rules_names_the_set_of_each() -> None:
    found = all_rules([EXACT, FAST, STABLE])
    assert [name for name, _ in found] == ["exact"] * len(EXACT.rules) + ["fast"] * len(FAST.rules) + ["stable"] * len(
        STABLE.rules
    )


# -- what must be declined ----------------------------------------------------------------------


def _is_declined(node: Node) -> bool:
    return not any(rule.apply(node) is not None for _, rule in all_rules([EXACT, FAST]))


def test_a_rule_that_would_change_the_shape_is_declined() -> None:
    x, c = make_input("x", Type((3,), "float32")), make_input("c", Type((2, 3), "bool"))
    assert _is_declined(F.multiply(x, F.constant(np.ones((1, 1), np.float32))))
    assert _is_declined(F.where(c, x, x))


def test_a_rule_that_would_change_the_dtype_is_declined() -> None:
    wrong = RuleSet("wrong")
    wrong.helper(widened)
    rule = wrong.rule("exp(x) = widened(x)")
    node = F.exp(make_input("x", Type((3,), "float32")))
    assert rule.apply(node) is None
    graph = Graph(topological([node])[:1], [node])
    assert rewrite(graph, wrong).equals(graph)


def widened(x: Node) -> Node:
    return F.cast(x, "float64")


@pytest.mark.parametrize("dtype", [dtype.name for dtype in dtypes.ALL])
def test_a_cast_on_the_way_is_dropped_only_where_no_value_shows_it(dtype: str) -> None:
    rule = next(rule for rule in EXACT.rules if rule.equation.startswith("cast(cast("))
    beyond = [3e2, -3e2, 3e4, 3e9, -3e9, 1e19] if dtype in FLOATS else []
    values = np.array([*special(dtype), *beyond], dtype)
    x = make_input("x", Type(values.shape, dtype))
    dropped = set()
    for middle, target in itertools.product(dtypes.ALL, dtypes.ALL):
        node = F.cast(F.cast(x, middle), target)
        right = rule.apply(node) if len({dtype, middle.name, target.name}) == 3 else None
        if right is not None:
            dropped.add(middle.name)
            assert_same_bits(*evaluate([node, right], {x: values}), f"{dtype} by {middle} to {target}")
    assert dropped or dtype in {"float64", "int64", "uint64"}


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_a_cast_through_float64_is_kept_for_integers_that_it_rounds(dtype: str) -> None:
    x = make_input("x", Type((2,), dtype))
    back = F.cast(F.cast(x, "float64"), dtype)
    assert _is_declined(back)
    (value,) = evaluate([back], {x: np.array([2**53 + 1, 1], dtype)})
    assert value.tolist() == [2**53, 1]


@pytest.mark.parametrize("make", [lambda x: x * 0, lambda x: x - x, lambda x: x / x, lambda x: F.power(x, 0)])
def test_what_nan_would_survive_is_no_rule(make: Any) -> None:
    assert _is_declined(make(make_input("x", Type((3,), "float32"))))


def test_adding_zero_is_exact_only_with_the_sign_that_keeps_zeros() -> None:
    x = make_input("x", Type((3,), "float32"))
    exact = [rule.equation for rule in EXACT.rules if rule.apply(F.add(x, 0.0)) is not None]
    assert exact == []
    assert [rule.equation for rule in EXACT.rules if rule.apply(F.add(x, -0.0)) is not None] == ["x + -0.0 = x"]


@pytest.mark.parametrize(
    "factors", [(1e30, 1e30), (1e-30, 1e-30), (0.0, 2.0), (np.inf, 2.0), (np.nan, 2.0), (1e-30, 1e-10)]
)
def test_constants_whose_product_leaves_the_range_are_not_joined(factors: tuple[float, float]) -> None:
    x = make_input("x", Type((3,), "float32"))
    first, second = (F.constant(factor, "float32") for factor in factors)
    rule = next(rule for rule in FAST.rules if rule.equation.startswith("x * A * B"))
    assert rule.apply(F.multiply(F.multiply(x, first), second)) is None


# -- the engine ---------------------------------------------------------------------------------


def test_a_commutative_pattern_matches_either_way_round() -> None:
    x = make_input("x", Type((3,), "float32"))
    rule = next(rule for rule in EXACT.rules if rule.equation == "x * 1 = x")
    assert rule.apply(F.multiply(x, 1.0)) is x
    assert rule.apply(F.multiply(F.constant(1.0, "float32"), x)) is x


def test_a_repeated_name_matches_only_the_same_value() -> None:
    x, y = (make_input(name, Type((3,), "float32")) for name in "xy")
    rule = next(rule for rule in EXACT.rules if rule.equation == "x * x = square(x)")
    assert rule.apply(F.multiply(x, y)) is None
    assert rule.apply(F.multiply(x, x)).op.name == "square"  # type: ignore[union-attr]


def test_rewriting_ends_when_nothing_matches() -> None:
    x = make_input("x", Type((3,), "float32"))
    y = x
    for _ in range(40):
        y = F.negative(y)
    done = rewrite(Graph([x], [y]), EXACT)
    assert done.outputs == done.inputs


def test_rules_that_chase_each_other_end_too() -> None:
    circle = RuleSet("circle")
    circle.rule("exp(x) = log(x)")
    circle.rule("log(x) = exp(x)")
    x = make_input("x", Type((3,), "float32"))
    done = rewrite(Graph([x], [F.exp(x)]), circle)
    assert done.outputs[0].op.name in {"exp", "log"}


@pytest.mark.parametrize("equation", ["exp(x)", "x < y = x", "no_such_op(x) = x", "exp(x)[0] = x"])
def test_what_is_no_equation_is_refused_with_its_text(equation: str) -> None:
    with pytest.raises(CompilerError, match="rule"):
        RuleSet("wrong").rule(equation)
