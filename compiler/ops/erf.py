"""The error function in plain array arithmetic, block by block in a small workspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Rational minimax approximations of W. J. Cody, "Rational Chebyshev approximations for the error
# function", Mathematics of Computation 23 (1969) 631-637, highest power first.
#: |x| <= SPLIT: erf(x) / x as a ratio of polynomials in x^2
SMALL_TOP = (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
             3.20937758913846947e3)  # fmt: skip
SMALL_BOTTOM = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
#: |x| > SPLIT: (1 - erf(|x|)) * exp(x^2) as a ratio of polynomials in |x|
LARGE_TOP = (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
             2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
             1.23033935479799725e3)  # fmt: skip
LARGE_BOTTOM = (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
                3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3)  # fmt: skip
SPLIT = 0.5
#: erf(x) / x - 1 by the same approximation: adding x last leaves one rounding where there were four
SMALL_EXCESS = tuple(top - bottom for top, bottom in zip(SMALL_TOP, SMALL_BOTTOM, strict=True))
#: from here on erf is 1 in float64
END = 6.0

#: elements computed at a time: five arrays of them stay in a core's second-level cache
BLOCK = 8192


def scratch_bytes(size: int, itemsize: int) -> int:
    """Workspace for `size` elements: four work arrays and a mask, of one block."""
    return min(size, BLOCK) * (4 * max(itemsize, 4) + 1)


def erf_in_place(xp: Any, values: Any, scratch: Any) -> None:
    """Replace each element of `values`, a C-contiguous float array, by its error function.

    Within 3 units in the last place in float64 and float32; float16 is computed in float32.
    `scratch` has `scratch_bytes(values.size, values.itemsize)` bytes.
    """
    if values.size == 0:
        return
    flat = values.reshape(-1)
    dtype = np.dtype(np.float64 if values.dtype == np.float64 else np.float32)
    length = min(values.size, BLOCK)
    work = scratch[: 4 * length * dtype.itemsize].view(dtype).reshape(4, length)
    mask = scratch[4 * length * dtype.itemsize :].view(np.bool_)
    for start in range(0, values.size, BLOCK):
        block = flat[start : start + BLOCK]
        size = block.size
        _erf_block(xp, block, work[:, :size], mask[:size])


def _erf_block(xp: Any, block: Any, work: Any, is_small: Any) -> None:
    magnitude, square, top, bottom = work
    xp.absolute(block, out=magnitude)
    xp.minimum(magnitude, END, out=magnitude)
    xp.multiply(magnitude, magnitude, out=square)
    xp.less_equal(magnitude, SPLIT, out=is_small)

    _polynomial(xp, LARGE_TOP, magnitude, top)
    _polynomial(xp, LARGE_BOTTOM, magnitude, bottom)
    xp.divide(top, bottom, out=top)
    xp.negative(square, out=bottom)
    xp.exp(bottom, out=bottom)
    xp.multiply(top, bottom, out=top)
    xp.subtract(1, top, out=top)
    large = xp.copysign(top, block, out=top)

    _polynomial(xp, SMALL_EXCESS, square, magnitude)
    _polynomial(xp, SMALL_BOTTOM, square, bottom)
    xp.divide(magnitude, bottom, out=magnitude)
    xp.multiply(magnitude, block, out=magnitude)
    small = xp.add(magnitude, block, out=magnitude)

    xp.copyto(large, small, where=is_small)
    xp.copyto(block, large, casting="same_kind")


def _polynomial(xp: Any, coefficients: Sequence[float], x: Any, out: Any) -> None:
    xp.multiply(x, coefficients[0], out=out)
    for coefficient in coefficients[1:-1]:
        xp.add(out, coefficient, out=out)
        xp.multiply(out, x, out=out)
    xp.add(out, coefficients[-1], out=out)
