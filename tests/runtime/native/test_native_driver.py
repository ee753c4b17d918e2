"""Tables and jobs run by one thread: order, results, failures, what they refuse, and the lock of Python."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest

from staticnet.compiler.errors import ArgumentError, CompilerError
from staticnet.runtime.native import driver, host, jit
from staticnet.runtime.native.driver import Entry, Job
from staticnet.runtime.native.driver_text import SYMBOL, driver_text
from tests.runtime.native import native_kernels as kernels


@pytest.fixture(params=["run", "run_holding"])
def how(request) -> str:
    return request.param


def test_entries_run_in_order_over_their_ranges(how):
    extent = 37
    x, y = np.arange(extent), np.zeros(extent, np.int64)
    forth, back = kernels.arguments(x, y), kernels.arguments(y, x)
    add, mirror = kernels.address(kernels.add(5), 2), kernels.address(kernels.mirror(extent), 2)
    rows = driver.table(
        [
            Entry(add, forth.ctypes.data, extent),
            Entry(mirror, back.ctypes.data, extent),
            Entry(add, forth.ctypes.data, 11),
        ]
    )
    expected_y = np.arange(extent) + 5
    expected_x = 3 * expected_y[::-1] + np.arange(extent)
    expected_y = np.concatenate([expected_x[:11] + 5, expected_y[11:]])
    assert getattr(Job(rows, 0, 3), how)() == -1
    np.testing.assert_array_equal(x, expected_x)
    np.testing.assert_array_equal(y, expected_y)


def test_part_of_a_table_and_none_of_it(how):
    x = np.zeros(1, np.int64)
    pointers = kernels.arguments(x, x)
    rows = driver.table(
        [Entry(kernels.address(kernels.add(10**power), 2), pointers.ctypes.data, 1) for power in range(4)]
    )
    assert getattr(Job(rows, 1, 3), how)() == -1
    assert x[0] == 110
    assert getattr(Job(rows, 2, 2), how)() == -1
    assert x[0] == 110


def test_pointers_and_extents_may_change_between_calls():
    x, y, z = np.arange(8), np.zeros(8, np.int64), np.zeros(8, np.int64)
    pointers = kernels.arguments(x, y)
    rows = driver.table([Entry(kernels.address(kernels.add(1), 2), pointers.ctypes.data, 8)])
    job = Job(rows, 0, 1)
    assert job.run() == -1
    pointers[1], rows[0, 3] = z.ctypes.data, 3
    assert job.run() == -1
    np.testing.assert_array_equal(y, np.arange(8) + 1)
    np.testing.assert_array_equal(z, [1, 2, 3, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("bad", [0, 1, 3])
def test_the_first_failure_is_named_and_ends_the_run(how, bad):
    values, calls = np.zeros((4, 3), np.int64), np.zeros((4, 1), np.int64)
    values[bad:, 2] = -1
    refuse = kernels.address(kernels.REFUSE, 2)
    pointers = [kernels.arguments(value, call) for value, call in zip(values, calls, strict=True)]
    job = Job(driver.table([Entry(refuse, own.ctypes.data, 3) for own in pointers]), 0, 4)
    assert getattr(job, how)() == bad
    np.testing.assert_array_equal(calls[:, 0], [1] * (bad + 1) + [0] * (3 - bad))
    values[:] = 0
    assert getattr(job, how)() == -1


@pytest.mark.parametrize("arity", [0, 1, 3, 6, 7, 40])
def test_entries_pass_every_pointer_in_its_place(arity):
    """The kernel writes number k through pointer k, and its range through the last."""
    stores = [f"  store i64 {number + 1}, ptr %a{number}" for number in range(arity)]
    if arity:
        stores += [f"  %size = sub i64 %end, %begin\n  store i64 %size, ptr %a{arity - 1}"]
    pointers = "".join(f"ptr %a{number}, " for number in range(arity))
    text = f"define internal i32 @body({pointers}i64 %begin, i64 %end) nounwind {{\n" + "\n".join(stores)
    address = kernels.address(text + "\n  ret i32 0\n}\n", arity)
    values = np.zeros((max(arity, 1), 1), np.int64)
    given = kernels.arguments(*values)
    assert Job(driver.table([Entry(address, given.ctypes.data, 99)]), 0, 1).run() == -1
    assert values[:, 0].tolist() == ([*range(1, arity), 99] if arity else [0])


def test_other_threads_go_on_while_a_job_runs():
    count, wanted = np.zeros(1, np.int64), np.array([2])
    given = kernels.arguments(count, wanted)
    job = Job(driver.table([Entry(kernels.address(kernels.MEET, 2), given.ctypes.data, 1)]), 0, 1)

    def release() -> None:
        while count[0] < 1:
            pass
        count[0] = 2

    other = threading.Thread(target=release)
    other.start()
    assert job.run() == -1
    other.join(60)


@pytest.mark.skipif(host.architecture() != "x86_64", reason="sets the control register of x86-64")
def test_denormals_count_whatever_the_thread_has_set():
    """A caller whose thread flushes denormals to zero gets the usual results, and keeps its setting."""
    set_mode = "declare void @llvm.x86.sse.ldmxcsr(ptr)\ndeclare void @llvm.x86.sse.stmxcsr(ptr)\n"
    set_mode += (
        "define internal i32 @body(ptr %a0, ptr %a1, i64 %begin, i64 %end) nounwind {\n"
        "  call void @llvm.x86.sse.stmxcsr(ptr %a1)\n  call void @llvm.x86.sse.ldmxcsr(ptr %a0)\n  ret i32 0\n}\n"
    )
    halve = kernels.looping(
        "  %p = getelementptr double, ptr %a0, i64 %i\n  %x = load double, ptr %p\n"
        "  %y = fmul double %x, 5.0e-1\n  store double %y, ptr %p",
        1,
    )
    entry = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    setter = entry(kernels.address(set_mode, 2))
    flushing, usual, seen = np.array([0x9FC0], np.uint32), np.zeros(1, np.uint32), np.zeros(1, np.uint32)
    x = np.array([np.finfo(float).smallest_normal])
    to_flush, to_usual = kernels.arguments(flushing, usual), kernels.arguments(usual, seen)
    own = kernels.arguments(x)
    job = Job(driver.table([Entry(kernels.address(halve, 1), own.ctypes.data, 1)]), 0, 1)
    setter(to_flush.ctypes.data, 0, 1)
    failed = job.run()
    setter(to_usual.ctypes.data, 0, 1)
    assert failed == -1
    assert x[0] == np.finfo(float).smallest_normal / 2
    assert seen[0] & 0xFFC0 == 0x9FC0


@pytest.mark.parametrize(("extent", "grain"), [(-1, 1), (5, 0), (5, -3)])
def test_a_table_refuses(extent, grain):
    with pytest.raises(ArgumentError, match=f"extent {extent}, grain {grain}"):
        driver.table([Entry(0, 0, extent, grain)])


def test_a_job_refuses():
    rows = driver.table([Entry(0, 0, 1)] * 3)
    for first, last in ((-1, 2), (2, 1), (0, 4)):
        with pytest.raises(ArgumentError, match=f"entries {first} to {last} of a table that has 3"):
            Job(rows, first, last)
    for wrong in (rows.astype(np.int32), rows[:, :4], rows[:, ::-1]):
        with pytest.raises(ArgumentError, match="6 int64 columns"):
            Job(wrong, 0, 1)


@pytest.mark.parametrize(
    "triple",
    [
        "x86_64-unknown-linux-gnu",
        "x86_64-pc-linux-musl",
        "aarch64-unknown-linux-gnu",
        "arm64-apple-darwin24.0.0",
        "aarch64-apple-macosx14",
        "x86_64-apple-darwin20",
        "x86_64-pc-windows-msvc",
    ],
)
def test_the_driver_is_code_for_every_system(triple):
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(driver_text(triple))
    module.verify()
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip("this LLVM has no such target")
    assert SYMBOL in target.create_target_machine(codemodel="default").emit_assembly(module)


@pytest.mark.parametrize("triple", ["riscv64-unknown-linux-gnu", "x86_64-unknown-freebsd14", "wasm32-unknown-unknown"])
def test_systems_without_a_driver_are_named(triple):
    with pytest.raises(CompilerError, match=triple):
        driver_text(triple)


def test_the_entry_stands_beside_the_kernel():
    assert driver.entry_symbol("some") == "some_entry"
    text = kernels.add(1).replace("@body", "@beside") + driver.wrap("beside", 2)
    (address,) = jit.load([("beside_entry", text)], host.machine())
    x = np.arange(4)
    given = kernels.arguments(x, x)
    assert Job(driver.table([Entry(address, given.ctypes.data, 4)]), 0, 1).run() == -1
    assert x.tolist() == [1, 2, 3, 4]
