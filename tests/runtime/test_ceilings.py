"""Ceilings: which level counts, what limits a step, and that what is measured makes sense."""

from __future__ import annotations

import math

import pytest

from staticnet.runtime import numpy_ceilings
from staticnet.runtime.ceilings import Ceilings, Level, Rates, stretches
from staticnet.runtime.native import host

CACHE, MEMORY = Level("L2", 1000, 80.0, 100.0), Level("memory", math.inf, 8.0, 10.0)
ONE = Rates(100.0, (CACHE, MEMORY))
ALL = Rates(350.0, (CACHE.times(4), Level("memory", math.inf, 12.0, 15.0)))
CEILINGS = Ceilings("a machine", 4, ONE, ALL)


def test_a_copy_takes_what_it_was_measured_to_take() -> None:
    for level in (CACHE, MEMORY):
        assert level.seconds(500, 500) == pytest.approx(1000 / level.copy)
        assert level.seconds(1000, 0) == pytest.approx(1000 / level.read)
        assert level.seconds(0, 1000) > level.seconds(1000, 0)


def test_what_sets_the_limit() -> None:
    assert CEILINGS.limit(1000, 10, 10) == (10.0, "arithmetic")
    assert CEILINGS.limit(10, 400, 400) == (pytest.approx(10.0), "memory")
    assert CEILINGS.limit(10, 4000, 4000) == (pytest.approx(1000.0), "memory")
    assert CEILINGS.limit(1000, 10, 10, itemsize=8) == (20.0, "arithmetic")
    assert CEILINGS.limit(1000, 10, 10, itemsize=1) == (10.0, "arithmetic")
    assert CEILINGS.limit(0, 0, 0).seconds == 0


def test_threads_do_as_much_as_the_first_up_to_all() -> None:
    assert CEILINGS.rates(1) is ONE and CEILINGS.rates(4) is CEILINGS.rates(9) is ALL
    two = CEILINGS.rates(2)
    assert two.flops == 200 and two.levels[1].copy == 12.0 and two.levels[0].copy == 160
    assert CEILINGS.rates(3).flops == 300


def test_stretches_lie_in_their_caches() -> None:
    small, shared, memory = stretches(1 << 20, 32 << 20, 2)
    assert small.size == 2 << 20 and 2 * small.nbytes < small.size
    assert shared.size == 32 << 20 and 2 * shared.nbytes < shared.size
    assert memory.nbytes * 2 > 32 << 20
    assert [place.name for place in stretches(1 << 20, 1 << 20)] == ["L2", "memory"]
    assert stretches(1 << 20, 1 << 40)[-1].nbytes < 1 << 30


def sensible(ceilings: Ceilings, threads: int) -> None:
    assert ceilings.threads == threads
    for rates in (ceilings.one, ceilings.all):
        assert rates.flops > 1e8 and all(level.copy > 1e7 and level.read > 1e7 for level in rates.levels)
        assert rates.levels[-1].size == math.inf
    assert ceilings.all.flops >= ceilings.one.flops
    lines = str(ceilings).splitlines()
    assert len(lines) == 1 + (threads > 1) and lines[0].startswith("1 thread: ") and "memory" in lines[0]


def test_numpy_is_measured() -> None:
    sensible(numpy_ceilings.ceilings(1), 1)
    assert numpy_ceilings.ceilings(1) is numpy_ceilings.ceilings(1)


@pytest.mark.skipif(not host.available(), reason="no native execution here")
@pytest.mark.parametrize("threads", [1, 2])
def test_native_code_is_measured(threads: int) -> None:
    from staticnet.runtime.native import ceilings

    sensible(ceilings.ceilings(host.machine(), threads), threads)
    assert ceilings.ceilings(host.machine(), threads) is ceilings.ceilings(host.machine(), threads)


@pytest.mark.skipif(host.architecture() != "x86_64" or not host.available(), reason="levels of x86-64")
def test_lesser_processors_have_lower_ceilings() -> None:
    from staticnet.runtime.native import ceilings

    small, whole = (ceilings.ceilings(machine, 1) for machine in (host.machine_of("sse2", "level"), host.machine()))
    assert small.machine == "x86-64, vectors of 16 bytes"
    if host.machine().vector_bytes >= 32:
        assert small.one.flops < whole.one.flops
