"""Small kernels written as LLVM IR by hand, for the tests of native execution."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from staticnet.runtime.native import driver, host, jit

ROOT = Path(__file__).resolve().parents[3]

_LOOP = """
define internal i32 @body({pointers}, i64 %begin, i64 %end) nounwind {{
entry:
  %some = icmp slt i64 %begin, %end
  br i1 %some, label %loop, label %done
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %proceed ]
{inside}
  br label %proceed
proceed:
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret i32 0
}}
"""


def looping(inside: str, arity: int) -> str:
    """A kernel that runs `inside` for every %i of its range; its pointers are %a0, %a1, ..."""
    return _LOOP.format(inside=inside, pointers=", ".join(f"ptr %a{number}" for number in range(arity)))


def function(text: str, arity: int) -> tuple[str, str]:
    """Symbol and text of the entry of a kernel that calls itself @body, under a name of its own."""
    name = "t" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return driver.entry_symbol(name), text.replace("@body", f"@{name}") + driver.wrap(name, arity)


def address(text: str, arity: int) -> int:
    """Address of the entry of a kernel that calls itself @body."""
    (found,) = jit.load([function(text, arity)], host.machine())
    return found


def arguments(*arrays: np.ndarray) -> np.ndarray:
    """The addresses of arrays, as kernels' entries read them."""
    return np.array([array.ctypes.data for array in arrays], np.int64)


def add(number: int) -> str:
    """a1[i] = a0[i] + number, int64."""
    return looping(
        f"""
  %from = getelementptr i64, ptr %a0, i64 %i
  %to = getelementptr i64, ptr %a1, i64 %i
  %old = load i64, ptr %from
  %new = add i64 %old, {number}
  store i64 %new, ptr %to""",
        2,
    )


def mirror(extent: int) -> str:
    """a1[i] = 3 * a0[extent - 1 - i] + i, int64: reads what other workers wrote."""
    return looping(
        f"""
  %other = sub i64 {extent - 1}, %i
  %from = getelementptr i64, ptr %a0, i64 %other
  %to = getelementptr i64, ptr %a1, i64 %i
  %old = load i64, ptr %from
  %thrice = mul i64 %old, 3
  %new = add i64 %thrice, %i
  store i64 %new, ptr %to""",
        2,
    )


#: a0[i] = the range that i was done in, as begin * 2**32 + end
RANGES = looping(
    """
  %to = getelementptr i64, ptr %a0, i64 %i
  %high = shl i64 %begin, 32
  %both = or i64 %high, %end
  store i64 %both, ptr %to""",
    1,
)

#: counts calls in a1[0]; fails when a0[i] < 0 for an i of its range
REFUSE = """
define internal i32 @body(ptr %a0, ptr %a1, i64 %begin, i64 %end) nounwind {
entry:
  %before = atomicrmw add ptr %a1, i64 1 seq_cst
  br label %head
head:
  %i = phi i64 [ %begin, %entry ], [ %next, %good ]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %look, label %done
look:
  %place = getelementptr i64, ptr %a0, i64 %i
  %value = load i64, ptr %place
  %is_bad = icmp slt i64 %value, 0
  br i1 %is_bad, label %bad, label %good
good:
  %next = add i64 %i, 1
  br label %head
done:
  ret i32 0
bad:
  ret i32 1
}
"""

#: a0[0] = 1, but late
LATE = """
define internal i32 @body(ptr %a0, i64 %begin, i64 %end) nounwind {
entry:
  br label %pass
pass:
  %times = phi i64 [ 0, %entry ], [ %times1, %pass ]
  %times1 = add i64 %times, 1
  %unused = load volatile i64, ptr %a0
  %more = icmp ult i64 %times1, 100000
  br i1 %more, label %pass, label %done
done:
  store i64 1, ptr %a0
  ret i32 0
}
"""

#: a1[i] = a0[0]
SPREAD = looping(
    """
  %to = getelementptr i64, ptr %a1, i64 %i
  %value = load i64, ptr %a0
  store i64 %value, ptr %to""",
    2,
)

#: adds 1 to a0[0], then waits until it is a1[0]; gives up, and fails, after some seconds
MEET = """
define internal i32 @body(ptr %a0, ptr %a1, i64 %begin, i64 %end) nounwind {
entry:
  %before = atomicrmw add ptr %a0, i64 1 seq_cst
  br label %look
look:
  %times = phi i64 [ 0, %entry ], [ %times1, %again ]
  %now = load atomic i64, ptr %a0 seq_cst, align 8
  %wanted = load atomic i64, ptr %a1 seq_cst, align 8
  %is_there = icmp eq i64 %now, %wanted
  br i1 %is_there, label %done, label %again
again:
  %times1 = add i64 %times, 1
  %patient = icmp ult i64 %times1, 10000000000
  br i1 %patient, label %look, label %bad
done:
  ret i32 0
bad:
  ret i32 1
}
"""


def run_script(script: str, environment: Mapping[str, str] | None = None) -> str:
    """Run Python code in a process of its own, started beside the tests; what it prints."""
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env={**os.environ, **(environment or {})},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
