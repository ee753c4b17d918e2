"""How profiles look: columns, shares and limits, lines no longer than asked, groups, and the head."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from staticnet.compiler.errors import ArgumentError
from staticnet.compiler.origins import Origin
from staticnet.runtime.ceilings import Ceilings, Level, Limit, Rates
from staticnet.runtime.profile import Profile, StepTime
from staticnet.runtime.segments import Segment

ONE = Rates(1e12, (Level("L2", 1e6, 100e9, 120e9), Level("memory", math.inf, 10e9, 10e9)))
CEILINGS = Ceilings("a machine", 2, ONE, ONE.times(2))
ORIGIN = Origin("net.py", 12, "features.0")
EXP = StepTime(0, "exp", 0.001, 10**6, 10**6, (10,), None, "pointwise", "float32", limit=Limit(0.0001, "memory"))
PRODUCT = StepTime(
    1, "matmul", 0.003, 24 * 10**8, 3 * 10**6, (4, 4), ORIGIN, "matmul", "float32", 2, limit=Limit(0.0024, "arithmetic")
)
TANH = replace(EXP, step=2, op="tanh", seconds=0.0005, origin=replace(ORIGIN, line=13, module="head"))
PROFILE = Profile(
    "net", (EXP, PRODUCT, TANH), 0.0002, (0.005, 0.0046), 2, CEILINGS, (Segment(True, 0, 2, ("exp", "matmul", "tanh")),)
)


def table(text: str) -> list[list[str]]:
    """The cells of the rows below the head."""
    return [line.split() for line in text.split("\n\n")[1].splitlines()]


def test_the_table_shows_the_slowest_first() -> None:
    heading, *rows, total = table(str(PROFILE))
    assert heading == ["step", "op", "us", "share", "GFLOP/s", "GB/s", "limit", "result", "module,", "line"]
    assert rows[0] == [
        "1",
        "matmul",
        "3000.0",
        "66.7%",
        "800.0",
        "1.0",
        "80%",
        "arithmetic",
        "4x4",
        "features.0",
        "net.py:12",
    ]
    assert rows[1] == ["0", "exp", "1000.0", "22.2%", "1.0", "1.0", "10%", "memory", "10"]
    assert rows[2][1] == "tanh" and rows[2][-2:] == ["head", "net.py:13"]
    assert total == ["total", "4500.0", "100.0%", "533.8", "1.1", "58%"]


def test_the_rest_is_one_line() -> None:
    _, first, rest, total = table(PROFILE.text(rows=1))
    assert first[1] == "matmul" and total[0] == "total"
    assert rest == ["2", "more", "1500.0", "33.3%", "1.3", "1.3", "13%"]
    shares = [float(row[index].rstrip("%")) for row, index in ((first, 3), (rest, 3))]
    assert sum(shares) == pytest.approx(100, abs=0.1)


def test_the_head() -> None:
    head = str(PROFILE).split("\n\n")[0].splitlines()
    assert head == [
        "profile of net: 4500.0 us in 3 steps, median of 2 calls",
        "  1 native call; beside its steps a call takes 200.0 us, whole ones took 4600.0 to 5000.0 us",
        "  a machine; up to 2 threads; at most",
        "    1 thread: 1e+03 GFLOP/s (float32); copies in GB/s: L2 100, memory 10",
        "    2 threads: 2e+03 GFLOP/s (float32); copies in GB/s: L2 200, memory 20",
    ]


def test_long_profiles_are_told_in_milliseconds() -> None:
    slow = replace(PROFILE, entries=(replace(EXP, seconds=0.25),))
    assert str(slow).startswith("profile of net: 250.000 ms in 1 step,") and " ms " in slow.text().splitlines()[6]


def test_steps_in_python_are_marked_where_others_are_not() -> None:
    mixed = replace(PROFILE, entries=(replace(EXP, is_native=False), PRODUCT))
    assert "in Python" in next(line for line in str(mixed).splitlines() if " exp " in line)
    python = replace(PROFILE, entries=tuple(replace(entry, is_native=False) for entry in PROFILE))
    assert "80% arithmetic" in str(python) and "in Python" not in str(python).split("\n\n")[1]


def test_without_ceilings_there_is_no_limit() -> None:
    bare = Profile("net", tuple(replace(entry, limit=None) for entry in PROFILE))
    heading = table(str(bare))[0]
    assert "limit" not in heading and str(bare).startswith("profile of net: 4500.0 us in 3 steps\n\n")
    assert bare[0].bound == "" and bare[0].of_limit is None


@pytest.mark.parametrize("width", [100, 120])
def test_no_line_is_longer_than_the_page(width: int) -> None:
    title = f"fused[{' '.join(['multiply'] * 30)}]"
    module = ".".join(f"block{number}" for number in range(20))
    origin = Origin("a_rather_long_name_of_a_script.py", 1234, module)
    entry = replace(PRODUCT, op=title, origin=origin, shape=(64, 128, 56, 56))
    profile = replace(PROFILE, entries=(entry, *PROFILE.entries))
    for text in (profile.text(width=width), *(profile.by(what).text(width=width) for what in ("module", "op", "line"))):
        assert max(map(len, text.splitlines())) <= width
    row = profile.text(width=width).split("\n\n")[1].splitlines()[1]
    assert "fused[multiply" in row and "...]" in row and row.endswith("pt.py:1234")
    wide = profile.text(width=1000)
    assert title in wide and f"{module} a_rather_long_name_of_a_script.py:1234" in wide


def test_groups() -> None:
    modules = PROFILE.by("module")
    assert [group.name for group in modules] == ["features.0", "(no module)", "head"]
    heading, first, *_, total = table(str(modules))
    assert heading == ["module", "steps", "us", "share", "GFLOP/s", "GB/s", "of", "limit", "slowest", "step"]
    assert first == ["features.0", "1", "3000.0", "66.7%", "800.0", "1.0", "80%", "1", "matmul"]
    assert total[:3] == ["total", "3", "4500.0"]
    ops = PROFILE.by("op")
    assert ops["pointwise"].entries == (EXP, TANH) and ops["pointwise"].slowest is EXP
    assert ops["pointwise"].of_limit == pytest.approx(0.0002 / 0.0015)
    assert {group.name for group in PROFILE.by("line")} == {"net.py:12", "net.py:13", "(no line)"}
    assert "2 more" in modules.text(rows=1)
    with pytest.raises(KeyError, match=r"the groups are features\.0"):
        modules["other"]
    with pytest.raises(ArgumentError, match="'module', 'op' or 'line'"):
        PROFILE.by("day")


def test_lines_of_two_files_of_one_name_are_two_groups() -> None:
    other = replace(TANH, origin=replace(ORIGIN, file="elsewhere/net.py"))
    assert [group.name for group in replace(PROFILE, entries=(PRODUCT, other)).by("line")] == ["net.py:12", "net.py:12"]
