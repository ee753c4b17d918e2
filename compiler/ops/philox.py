"""Philox4x32-10: random words as a pure function of a key and a counter, block by block in a small workspace.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
#: what each half of the key grows by from round to round
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF

#: counters worked on at a time: the arrays of one block stay in a core's second-level cache
BLOCK = 8192
#: 64-bit arrays of one block: the index, four counter words, two products
_ARRAYS = 7


def scratch_bytes(words: int) -> int:
    """Workspace for drawing `words` 32-bit words, four to a counter."""
    return min(-(-words // 4), BLOCK) * _ARRAYS * 8


def philox(xp: Any, counter: Any, key: tuple[Any, Any], products: Any) -> None:
    """Encrypt `counter`, four uint64 arrays of 32-bit words, in place with the two 32-bit words `key`.

    `products` are two more arrays of that size to work in; `key` are integers or uint64 scalars of `xp`.
    """
    c0, c1, c2, c3 = counter
    p0, p1 = products
    k0, k1 = key
    for _ in range(ROUNDS):
        xp.multiply(c0, MULTIPLIERS[0], out=p0)
        xp.multiply(c2, MULTIPLIERS[1], out=p1)
        xp.right_shift(p1, 32, out=c0)
        xp.bitwise_xor(c0, c1, out=c0)
        xp.bitwise_xor(c0, k0, out=c0)
        xp.bitwise_and(p1, LOW, out=c1)
        xp.right_shift(p0, 32, out=c2)
        xp.bitwise_xor(c2, c3, out=c2)
        xp.bitwise_xor(c2, k1, out=c2)
        xp.bitwise_and(p0, LOW, out=c3)
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW


def draw(xp: Any, key: Any, stream: int, words: int, scratch: Any) -> Iterator[tuple[int, Any, Any]]:
    """The words of one stream in one step: `(start, block, work)` with uint64 `block` of shape (4, n), repeatedly.

    Word `start + 4 * i + k` is `block[k, i]`. `work`, float64 of shape (2, n), is free to use, and both
    may be overwritten. `key` is the array (seed, step) of uint64; `scratch` has `scratch_bytes(words)` bytes.
    """
    counters = -(-words // 4)
    if counters == 0:
        return
    length = min(counters, BLOCK)
    arrays = scratch[: length * _ARRAYS * 8].view(np.uint64).reshape(_ARRAYS, length)
    count_up(xp, arrays[0])
    seed, step = key[0], key[1]
    for first in range(0, counters, BLOCK):
        rows = arrays[:, : min(counters - first, BLOCK)]
        block, products = rows[1:5], rows[5:]
        xp.add(rows[0], first, out=block[0])
        block[1] = step >> 32
        block[2] = stream
        block[3] = step & LOW
        philox(xp, block, (seed & LOW, seed >> 32), products)
        yield 4 * first, block, products.view(np.float64)


def count_up(xp: Any, out: Any) -> None:
    """Fill a vector with 0, 1, 2, ... by doubling, without a temporary."""
    out[:1] = 0
    done = 1
    while done < out.size:
        more = min(done, out.size - done)
        xp.add(out[:more], done, out=out[done : done + more])
        done += more
