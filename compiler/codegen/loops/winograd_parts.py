"""The transforms of Winograd's minimal filtering F(2x2, 3x3) and F(4x4, 3x3): little sums of tiles of values.

A 3x3 filter over a 4x4 tile gives 2x2 results: A^T [(G g G^T) * (B^T d B)] A, one product for each of the 16
places. Its gradient to the filter is G^T [(A g A^T) * (B^T d B)] G, g being 2x2. Andrew Lavin and Scott Gray,
Fast Algorithms for Convolutional Neural Networks, 2015 (arXiv:1509.09308), section 4.1. In the same way a 6x6
tile gives 4x4 results with 36 products; its polynomials are evaluated at 0, infinity and +-1/sqrt(2), +-sqrt(2)
rather than at +-1 and +-2 (section 4.2), which makes the rounding errors about a quarter of what they are there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from staticnet.compiler.codegen.loops.form import Value, const
from staticnet.compiler.codegen.loops.operations import add, apply, multiply, multiply_add

#: results along an axis of a tile, what they see, and the filter
RESULTS, TILE, TAPS = 2, 4, 3

Line = Sequence[Value]
Grid = Sequence[Line]
Transform = Callable[[Line], list[Value]]


@dataclass(frozen=True)
class Scheme:
    """F(results x results, 3x3): the transforms of one axis of tiles of `tile` x `tile` values."""

    results: int
    tile: int
    source: Transform
    filter: Transform
    result: Transform


def transform(line: Transform, numbers: Grid) -> list[list[Value]]:
    """A transform of lines done to the columns of a grid, then to its rows."""
    columns = [line(column) for column in zip(*numbers, strict=True)]
    return [line(row) for row in zip(*columns, strict=True)]


# -- F(2x2, 3x3) --------------------------------------------------------------------------------


def input_tile(numbers: Grid) -> list[list[Value]]:
    """B^T d B: 4x4 values of the source to 4x4."""
    return transform(_input, numbers)


def filter_tile(weights: Grid) -> list[list[Value]]:
    """G g G^T: a 3x3 filter to 4x4 values."""
    return transform(_filter, weights)


def output_tile(products: Grid) -> list[list[Value]]:
    """A^T m A: 4x4 sums of products to 2x2 results."""
    return transform(_output, products)


def gradient_tile(slopes: Grid) -> list[list[Value]]:
    """A g A^T: the gradient of 2x2 results to 4x4 values."""
    return transform(_gradient, slopes)


def filter_gradient_tile(products: Grid) -> list[list[Value]]:
    """G^T m G: 4x4 sums of products to the gradient of a 3x3 filter."""
    return transform(_filter_gradient, products)


def _input(d: Line) -> list[Value]:
    return [_subtract(d[0], d[2]), add(d[1], d[2]), _subtract(d[2], d[1]), _subtract(d[1], d[3])]


def _filter(g: Line) -> list[Value]:
    ends, middle = _half(add(g[0], g[2])), _half(g[1])
    return [g[0], add(ends, middle), _subtract(ends, middle), g[2]]


def _output(m: Line) -> list[Value]:
    return [add(add(m[0], m[1]), m[2]), _subtract(_subtract(m[1], m[2]), m[3])]


def _gradient(g: Line) -> list[Value]:
    return [g[0], add(g[0], g[1]), _subtract(g[0], g[1]), apply("negative", g[1])]


def _filter_gradient(m: Line) -> list[Value]:
    total = _half(add(m[1], m[2]))
    return [add(m[0], total), _half(_subtract(m[1], m[2])), add(total, m[3])]


#: two results along an axis
TWO = Scheme(2, 4, _input, _filter, _output)

# -- F(4x4, 3x3) --------------------------------------------------------------------------------

_NEAR, _FAR = math.sqrt(0.5), math.sqrt(2)


def _wide_input(d: Line) -> list[Value]:
    near, far = (_scaled_add(-square, d[2], d[4]) for square in (2, 0.5))
    odd, odder = (_scaled_add(-square, d[1], d[3]) for square in (2, 0.5))
    return [
        _scaled_add(-2.5, d[2], add(d[0], d[4])),
        _scaled_add(_NEAR, odd, near),
        _scaled_add(-_NEAR, odd, near),
        _scaled_add(_FAR, odder, far),
        _scaled_add(-_FAR, odder, far),
        _scaled_add(-2.5, d[3], add(d[1], d[5])),
    ]


def _wide_filter(g: Line) -> list[Value]:
    near, far = _scaled_add(0.5, g[2], g[0]), _scaled_add(2, g[2], g[0])
    made = [(near, _NEAR, -2 / 3), (near, -_NEAR, -2 / 3), (far, _FAR, 1 / 6), (far, -_FAR, 1 / 6)]
    return [g[0], *(_scaled(scale, _scaled_add(point, g[1], even)) for even, point, scale in made), g[2]]


def _wide_output(m: Line) -> list[Value]:
    near, far = add(m[1], m[2]), add(m[3], m[4])
    odd, odder = _subtract(m[1], m[2]), _subtract(m[3], m[4])
    return [
        add(m[0], add(near, far)),
        _scaled_add(_FAR, odder, _scaled(_NEAR, odd)),
        _scaled_add(2, far, _scaled(0.5, near)),
        _scaled_add(2 * _FAR, odder, _scaled_add(_NEAR / 2, odd, m[5])),
    ]


#: four results along an axis
FOUR = Scheme(4, 6, _wide_input, _wide_filter, _wide_output)

# -- arithmetic ---------------------------------------------------------------------------------


def _subtract(x: Value, y: Value) -> Value:
    return apply("subtract", x, y)


def _scaled(factor: float, x: Value) -> Value:
    return multiply(x, const(factor, x.dtype))


def _scaled_add(factor: float, x: Value, y: Value) -> Value:
    """factor * x + y."""
    return multiply_add(x, const(factor, x.dtype), y)


def _half(x: Value) -> Value:
    return _scaled(0.5, x)
