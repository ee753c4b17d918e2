"""What every op card must have: found by walking the registry, so that a new card cannot be forgotten."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

from staticnet.compiler import dtypes
from staticnet.compiler.dtypes import DType
from staticnet.compiler.errors import DTypeError
from staticnet.compiler.ir import FUNCTIONS, REGISTRY, Op, Type, has_rule
from staticnet.compiler.ops import exceptions
from staticnet.compiler.ops.base import Elementwise, F
from staticnet.compiler.ops.leaf import make_input
from tests.ops.harness import all_rows

#: cards that hold a value or take one apart: a row of the op table has nothing to compute with them
LEAVES = {"input", "constant", "size_of", "item", "pack"}
#: cards that the compiler itself makes of others, tested with the passes that make them
MADE_BY_PASSES = {"fused"}
#: the kinds on which a function differs from NumPy's of the same name on purpose, as its docstring says
UNLIKE_NUMPY = {
    "reciprocal": "iub",
    "floor": "iub",
    "ceil": "iub",
    "logical_and": "iuf",
    "logical_or": "iuf",
    "logical_xor": "iuf",
    "logical_not": "iuf",
}

# Cards of tests, and those that other floors make for themselves, are tested there.
OPS = sorted(name for name, card in REGISTRY.items() if card.__module__.startswith("staticnet.compiler."))


ROWS: dict[str, set[str]] = {}
for _row in all_rows():
    for _name in _row.ops:
        ROWS.setdefault(_name, set()).add(_row.id)


@pytest.fixture(params=OPS)
def card(request: pytest.FixtureRequest) -> type[Op]:
    return REGISTRY[request.param]


def test_a_card_has_a_shape_rule(card):
    assert card.infer is not Op.infer


def test_a_card_has_a_kernel_or_an_expansion(card):
    if card.name in ("input", "item", "pack"):
        pytest.skip("the run knows its value already")
    assert has_rule(card, "kernel") or has_rule(card, "expand")


def test_a_card_has_a_gradient_an_expansion_or_a_reason(card):
    if card.name in ("item", "pack"):
        pytest.skip("the gradient driver takes tuples apart itself")
    assert has_rule(card, "grad") or has_rule(card, "expand") or card.name in exceptions.NOT_DIFFERENTIABLE


def test_reasons_are_given_only_where_they_are_needed():
    assert exceptions.NOT_DIFFERENTIABLE.keys() <= set(OPS), "a reason for an op that does not exist"
    needless = [name for name in exceptions.NOT_DIFFERENTIABLE if has_rule(REGISTRY[name], "grad")]
    assert not needless, f"both a gradient and a reason for having none: {needless}"
    assert all(reason.strip() for reason in exceptions.NOT_DIFFERENTIABLE.values())


def test_a_card_has_an_onnx_form_an_expansion_or_a_reason(card):
    lowering = pytest.importorskip("staticnet.exporters.onnx.lowering")
    windows = pytest.importorskip("staticnet.exporters.onnx.windows")
    has_form = card.onnx is not None or card.name in lowering.LOWERING
    is_expanded = has_rule(card, "expand") or card.name in windows.EXPANSIONS
    assert has_form or is_expanded or card.name in lowering.NOT_EXPORTABLE


def test_reasons_against_export_are_given_only_where_they_are_needed():
    lowering = pytest.importorskip("staticnet.exporters.onnx.lowering")
    assert lowering.NOT_EXPORTABLE.keys() <= set(OPS), "a reason for an op that does not exist"
    forms = lowering.LOWERING.keys() | {name for name in OPS if REGISTRY[name].onnx}
    both = lowering.NOT_EXPORTABLE.keys() & forms
    assert not both, f"both a form and a reason for having none: {both}"


def test_a_card_has_a_row_in_the_table(card):
    if card.name in LEAVES | MADE_BY_PASSES:
        pytest.skip("no op to compute with")
    assert card.name in ROWS, f"no row of tests/ops/rows_*.py names {card.name} among its ops"


def test_rows_name_ops_that_exist():
    assert not ROWS.keys() - REGISTRY.keys()


def test_a_card_says_what_it_computes(card):
    doc = inspect.cleandoc(card.__doc__ or "")
    assert doc and not doc.startswith(f"{card.__name__}("), f"{card.__name__} has no docstring of its own"
    assert doc.splitlines()[0].endswith("."), f"the first line of the docstring is no sentence: {doc.splitlines()[0]!r}"


def test_a_card_is_frozen_and_by_keyword(card):
    assert card.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(card))


def test_in_place_operands_exist(card):
    assert len(set(card.in_place)) == len(card.in_place)
    assert all(isinstance(place, int) and place >= 0 for place in card.in_place)


def test_rules_take_as_many_operands_as_the_card_has(card):
    rules = [getattr(card, rule) for rule in ("infer", "expand") if has_rule(card, rule)]
    counts = set()
    for rule in rules:
        parameters = list(inspect.signature(rule).parameters.values())[1:]
        if all(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters):
            counts.add(len(parameters))
    for rule, others in (("grad", 3), ("kernel", 2)):
        if not has_rule(card, rule):
            continue
        parameters = list(inspect.signature(getattr(card, rule)).parameters.values())[others:]
        positional = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
        if all(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in positional):
            counts.add(len(positional))
    assert len(counts) <= 1, f"the rules of {card.name} take {sorted(counts)} operands"


def test_kernels_take_out_and_scratch_by_keyword(card):
    if not has_rule(card, "kernel"):
        pytest.skip("no kernel")
    parameters = inspect.signature(card.kernel).parameters
    assert {"out", "scratch"} <= parameters.keys()
    assert all(parameters[name].kind is parameters[name].KEYWORD_ONLY for name in ("out", "scratch"))


# -- dtypes ------------------------------------------------------------------------------------

ELEMENTWISE = [
    name
    for name in OPS
    if issubclass(REGISTRY[name], Elementwise) and isinstance(getattr(np, REGISTRY[name].numpy or name, None), np.ufunc)
]
UFUNCS = [
    name
    for name in sorted(FUNCTIONS)
    if isinstance(getattr(np, name, None), np.ufunc) and getattr(np, name).signature is None
]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_cards_have_numpys_dtype(name):
    """Of each kind a card takes it makes what NumPy's ufunc makes; its kernel casts nothing."""
    card = REGISTRY[name]
    op = card(**dict.fromkeys(field.name for field in dataclasses.fields(card)))
    for dtype in dtypes.ALL:
        operands = [Type((2,), dtype)] * card.arity
        if dtype.numpy.kind in card.kinds:
            assert op.infer(*operands).dtype == numpys_dtype(getattr(np, card.numpy or name), dtype), f"of {dtype}"
        else:
            with pytest.raises(DTypeError, match=name):
                op.infer(*operands)


@pytest.mark.parametrize("name", UFUNCS)
def test_functions_give_numpys_dtype(name):
    ufunc = getattr(np, name)
    for dtype in dtypes.ALL:
        if name in UNLIKE_NUMPY and dtype.numpy.kind in UNLIKE_NUMPY[name]:
            continue
        operands = [make_input(f"x{i}", Type((2,), dtype)) for i in range(ufunc.nin)]
        wanted = numpys_dtype(ufunc, dtype)
        if wanted is None:
            with pytest.raises(DTypeError):
                getattr(F, name)(*operands)
        else:
            assert getattr(F, name)(*operands).dtype == wanted, f"of {dtype}"


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor", "logical_not"])
def test_logic_takes_booleans_only(name):
    for dtype in dtypes.ALL[1:]:
        operands = [make_input(f"x{i}", Type((2,), dtype)) for i in range(getattr(np, name).nin)]
        with pytest.raises(DTypeError, match=f"{name} does not take {dtype}"):
            getattr(F, name)(*operands)


def numpys_dtype(ufunc: np.ufunc, dtype: DType) -> DType | None:
    """The dtype of the ufunc's result on operands of one dtype, None where NumPy refuses them."""
    try:
        return dtypes.as_dtype(ufunc.resolve_dtypes((*[dtype.numpy] * ufunc.nin, None))[-1])
    except TypeError:
        return None
