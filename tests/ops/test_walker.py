"""The walker of the op table finds what it is there to find: each check fails on a card that is broken its way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from staticnet.compiler import dtypes
from staticnet.compiler.codegen.loops import nest
from staticnet.compiler.codegen.loops.form import For, const
from staticnet.compiler.codegen.loops.operations import apply, select
from staticnet.compiler.codegen.loops.pointwise import MEANINGS
from staticnet.compiler.errors import CompilerError
from staticnet.compiler.ir import REGISTRY, Type
from staticnet.compiler.ops.arithmetic import Floor, Square
from staticnet.compiler.ops.base import F
from staticnet.compiler.ops.transcendental import Exp
from staticnet.runtime.native import host
from tests.ops.table import Arg, Row
from tests.ops.test_table import CHECKS

X = Arg(("N", 3))
EXP = Row("exp", ("exp",), F.exp, (X,), np.exp)
SUM = Row("sum", ("sum",), lambda x: F.sum(x, axis=0), (X,), lambda x: x.sum(0))
SQUARE = Row("square", ("square",), F.square, (X,), np.square)
WHERE = Row("where", ("where",), F.where, (Arg(("N", 3), "bool"), X, X), np.where)
TRANSPOSE = Row("transpose", ("transpose",), lambda x: F.transpose(x), (X,), np.transpose)
LOSS = Row(
    "loss", ("binary_cross_entropy_with_logits",), lambda x, t: F.binary_cross_entropy_with_logits(x, t, "none"),
    (X, Arg(("N", 3), low=0.1, high=0.9)), lambda x, t: np.logaddexp(0, x) - x * t, rtol=1e-5,
)  # fmt: skip


def inexact(self: Any, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
    xp.exp(x, out=out)
    out += out.dtype.type(1e-4)


def single(self: Any, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
    out[...] = xp.exp(x.astype("float32"))


def wasteful(self: Any, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
    out[...] = xp.exp(x)


def blind_to_strides(self: Any, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
    dense = [x.itemsize * int(np.prod(x.shape[axis + 1 :])) for axis in range(x.ndim)]
    xp.exp(xp.lib.stride_tricks.as_strided(x, x.shape, dense), out=out)


def careless_of_operands(self: Any, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
    xp.exp(x, out=x)
    xp.copyto(out, x)


def careless_of_garbage(self: Any, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
    xp.add(out, xp.sum(x, axis=self.axes, keepdims=self.keepdims), out=out)


def numpy_only(self: Any, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
    np.exp(x, out=out)


def unknown_to_cupy(self: Any, xp: Any, x: Any, *, out: Any, scratch: Any) -> None:
    xp.add.reduce(x, axis=self.axes, keepdims=self.keepdims, out=out, initial=0)


def fixed_shape(self: Any, x: Any) -> Type:
    return Type((2, 3), x.dtype)


BROKEN = {
    "shape": (TRANSPOSE, "infer", lambda self, x: x),
    "dtype": (SUM, "result", lambda self, dtype: dtypes.float32),
    "symbolic": (EXP, "infer", fixed_shape),
    "float32": (EXP, "kernel", inexact),
    "float32 of any stride": (EXP, "kernel", blind_to_strides),
    "float32 into garbage": (SUM, "kernel", careless_of_garbage),
    "float32 of operands that stay": (EXP, "kernel", careless_of_operands),
    "float64": (EXP, "kernel", single),
    "in_place": (WHERE, "in_place", (1, 2)),
    "expansion": (LOSS, "grad", lambda self, g, y, x, target: (g * F.sigmoid(x), -g * x)),
    "memory": (EXP, "kernel", wasteful),
    "gradient": (SQUARE, "grad", lambda self, g, y, x: (g * x,)),
    "second": (SQUARE, "grad", lambda self, g, y, x: (g * 2 * F.stop_gradient(x),)),
    "onnx": (EXP, "onnx", "Sin"),
    "device": (EXP, "kernel", numpy_only),
    "device with CuPy's arguments": (SUM, "kernel", unknown_to_cupy),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_card_is_found(what: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    check = CHECKS[what.split()[0]]
    row, rule, broken = BROKEN[what]
    check(row, rng)
    monkeypatch.setattr(REGISTRY[row.ops[0]], rule, broken)
    with pytest.raises((AssertionError, TypeError, ValueError)):
        check(row, rng)


def times(factor: float) -> Any:
    return lambda op, *operands: apply("multiply", plain(op, *operands), const(factor, operands[0].dtype))


def plain(op: Any, *operands: Any) -> Any:
    return apply(op.name, *operands)


def nan_is_zero(op: Any, x: Any) -> Any:
    return select(apply("isnan", x), const(0, x.dtype), apply("exp", x))


def positive_zero(op: Any, x: Any) -> Any:
    return apply("add", x, const(0, x.dtype))


#: check, row, card, what it wrongly means as native code
WRONG = {
    "three units in the last place": ("native", SQUARE, Square, times(1 + 3 * 2.0**-23)),
    "that of the whole program": ("native_program", SQUARE, Square, times(1.01)),
    "NaN": ("native_values", EXP, Exp, nan_is_zero),
    "the sign of zero": ("native_values", Row("floor", ("floor",), F.floor, (X,), np.floor), Floor, positive_zero),
    "no code at all": ("native", SQUARE, Square, lambda op, x: None),
}


@pytest.mark.skipif(not host.available(), reason="no native code on this machine")
@pytest.mark.parametrize("what", WRONG)
def test_wrong_native_code_is_found(what: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    name, row, card, wrong = WRONG[what]
    CHECKS[name](row, rng)
    monkeypatch.setitem(MEANINGS, card, wrong)
    with pytest.raises(AssertionError):
        CHECKS[name](row, rng)


@pytest.mark.skipif(not host.available(), reason="no native code on this machine")
@pytest.mark.parametrize("name", ["native", "native_program"])
def test_native_code_that_writes_beside_its_result_is_found(
    name: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One element more than there are."""
    monkeypatch.setattr(nest, "For", lambda var, extent, body, kind="serial": For(var, extent + 1, body, kind))
    with pytest.raises((AssertionError, CompilerError), match="wrote"):
        CHECKS[name](EXP, rng)
