"""Multiplication by powers of two that reaches beyond the normal range."""

from __future__ import annotations

from staticnet.compiler.codegen.llvm.arithmetic import Emitter, Number
from staticnet.compiler.codegen.llvm.features import has_scalef


def scale_exponent(x: Number, n: Number, bits: Number, fraction: int) -> Number:
    """x * 2**n, rounded once, for x near 1 and n a whole float, also the last bits of `bits`.

    n may be up to twice as large as exponents are: two factors, of half of n each, do not overflow.
    """
    emitter = x.emitter
    size = emitter.lanes * x.dtype.itemsize
    if has_scalef(emitter.machine) and size >= 16:
        return _scalef(x, n)
    one = x.number(1.0).bits()
    first = (bits >> 1) << fraction
    second = (bits << fraction) - first
    return x * (first + one).as_float() * (second + one).as_float()


def _scalef(x: Number, n: Number) -> Number:
    """AVX-512's instruction, on as many vectors as there are."""
    emitter, lanes = x.emitter, x.emitter.lanes
    scalar, kind = ("float", "ps") if x.dtype.itemsize == 4 else ("double", "pd")
    width = min(lanes, 64 // x.dtype.itemsize)
    size = 8 * width * x.dtype.itemsize
    type, mask = f"<{width} x {scalar}>", f"i{max(8, width)}"
    name = f"@llvm.x86.avx512.mask.scalef.{kind}.{size}"
    rounding_type, rounding = (", i32", ", i32 4") if size == 512 else ("", "")
    emitter.declare(f"declare {type} {name}({type}, {type}, {type}, {mask}{rounding_type})")
    parts = []
    for first in range(0, lanes, width):
        a, b = (_part(value, first, width, type) for value in (x, n))
        text = f"call {type} {name}({type} {a}, {type} {b}, {type} zeroinitializer, {mask} -1{rounding})"
        parts.append(emitter.do(text, type))
    return x.like(_joined(emitter, parts, width, scalar))


def _part(x: Number, first: int, width: int, type: str) -> str:
    if width == x.emitter.lanes:
        return x.name
    places = ", ".join(f"i32 {first + lane}" for lane in range(width))
    return x.emitter.do(f"shufflevector {x.type} {x.name}, {x.type} poison, <{width} x i32> <{places}>", type)


def _joined(emitter: Emitter, parts: list[str], width: int, scalar: str) -> str:
    """A power of two of vectors as one."""
    while len(parts) > 1:
        type, double = f"<{width} x {scalar}>", f"<{2 * width} x {scalar}>"
        places = ", ".join(f"i32 {lane}" for lane in range(2 * width))
        pairs = zip(parts[::2], parts[1::2], strict=True)
        order = f"<{2 * width} x i32> <{places}>"
        parts = [emitter.do(f"shufflevector {type} {a}, {type} {b}, {order}", double) for a, b in pairs]
        width *= 2
    return parts[0]
