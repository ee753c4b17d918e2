"""Functions from LLVM IR text: found again, refused, side by side, and after a fork."""

from __future__ import annotations

import ctypes
import os
import threading

import numpy as np
import pytest

from staticnet.compiler.errors import CompilerError
from staticnet.runtime.native import host, jit
from tests.runtime.native import native_kernels as kernels

MACHINE = host.machine()


def constant(symbol: str, number: int) -> str:
    return f"define i64 @{symbol}() nounwind {{\n  ret i64 {number}\n}}\n"


def call(address: int) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int64)(address)()


def test_functions_do_what_their_text_says():
    functions = [(f"jit_constant{number}", constant(f"jit_constant{number}", number)) for number in range(40)]
    assert [call(address) for address in jit.load(functions, MACHINE)] == list(range(40))


def test_the_same_text_is_compiled_once(monkeypatch):
    monkeypatch.setenv("STATICNET_CACHE", "0")
    functions = [("jit_once", constant("jit_once", 7)), ("jit_once", constant("jit_once", 7))]
    before = jit.statistics()
    first = jit.load(functions, MACHINE)
    middle = jit.statistics()
    assert jit.load(functions, MACHINE) == first
    after = jit.statistics()
    assert first[0] == first[1]
    assert (middle.compiled, middle.from_memory) == (before.compiled + 1, before.from_memory)
    assert (after.compiled, after.from_memory) == (middle.compiled, middle.from_memory + 1)
    assert after.from_disk == before.from_disk and before.seconds < middle.seconds < after.seconds


def test_the_disk_is_asked_before_the_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("STATICNET_CACHE", "1")
    monkeypatch.setenv("STATICNET_CACHE_DIR", str(tmp_path))
    text = constant("jit_kept", 9)
    store = jit.cache.configured()
    store.write({jit.cache.digest(text, MACHINE): jit.compile_object("jit_kept", text, MACHINE)})
    before = jit.statistics()
    (address,) = jit.load([("jit_kept", text)], MACHINE)
    after = jit.statistics()
    assert call(address) == 9
    assert (after.compiled, after.from_disk) == (before.compiled, before.from_disk + 1)


@pytest.mark.parametrize("is_first_loaded", [False, True])
def test_a_symbol_stands_for_one_text(is_first_loaded):
    symbol = f"jit_twice{int(is_first_loaded)}"
    first, second = (symbol, constant(symbol, 1)), (symbol, constant(symbol, 2))
    if is_first_loaded:
        jit.load([first], MACHINE)
    with pytest.raises(CompilerError, match=f"{symbol} stands for two different texts"):
        jit.load([first, second], MACHINE)


@pytest.mark.parametrize(
    ("symbol", "text", "message"),
    [
        ("jit_bad", "define i64 @jit_bad() {\n  ret i32 0\n}", "does not take the text of jit_bad: .*"),
        ("jit_none", "define i64 @jit_other() {\n  ret i64 0\n}", "does not define it"),
        ("jit_inner", "define internal i64 @jit_inner() {\n  ret i64 0\n}", "does not define it"),
        (
            "jit_calls",
            "declare i64 @no_such_function_at_all(i64)\n"
            "define i64 @jit_calls() {\n  %x = call i64 @no_such_function_at_all(i64 1)\n  ret i64 %x\n}",
            "jit_calls calls no_such_function_at_all",
        ),
        (
            "jit_unsound",
            "define i64 @jit_unsound() {\nentry:\n  br label %b\na:\n  %x = add i64 1, 1\n  br label %b\n"
            "b:\n  ret i64 %x\n}",
            "not sound",
        ),
    ],
)
def test_what_cannot_be_loaded_is_refused_and_harms_nothing(symbol, text, message):
    with pytest.raises(CompilerError, match=message):
        jit.load([(symbol, text)], MACHINE)
    good = constant(f"{symbol}_good", 3)
    assert call(jit.load([(f"{symbol}_good", good)], MACHINE)[0]) == 3
    with pytest.raises(CompilerError, match=message):
        jit.load([(symbol, text)], MACHINE)


def test_equal_names_inside_of_two_modules_do_not_meet():
    def text(number: int) -> str:
        return (
            f"@table = internal constant [2 x i64] [i64 {number}, i64 {number + 1}]\n"
            f"define internal i64 @inner(i64 %i) nounwind noinline {{\n"
            f"  %p = getelementptr [2 x i64], ptr @table, i64 0, i64 %i\n  %x = load i64, ptr %p\n  ret i64 %x\n}}\n"
            f"define i64 @jit_meet{number}() nounwind {{\n  %x = call i64 @inner(i64 1)\n  ret i64 %x\n}}\n"
        )

    together = jit.load([(f"jit_meet{number}", text(number)) for number in (10, 20)], MACHINE)
    alone = jit.load([("jit_meet30", text(30))], MACHINE)
    assert [call(address) for address in together + alone] == [11, 21, 31]


@pytest.mark.parametrize("name", ["pow", "fmod", "atan2"])
def test_functions_of_the_c_library_are_found(name):
    symbol = f"jit_library_{name}"
    text = (
        f"declare double @{name}(double, double)\n"
        f"define double @{symbol}(double %x, double %y) nounwind {{\n"
        f"  %z = call double @{name}(double %x, double %y)\n  ret double %z\n}}\n"
    )
    (address,) = jit.load([(symbol, text)], MACHINE)
    double = ctypes.c_double
    found = ctypes.CFUNCTYPE(double, double, double)(address)(7.5, 2.25)
    expected = {"pow": np.power, "fmod": np.fmod, "atan2": np.arctan2}[name](7.5, 2.25)
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_many_texts_at_once_give_the_objects_of_one_at_a_time(monkeypatch):
    monkeypatch.setattr(jit, "usable_cores", lambda: 4)
    texts = dict(kernels.function(kernels.add(number), 2) for number in range(1, 60))
    threads: set[int] = set()
    compile_object = jit.compile_object

    def noting(*arguments):
        threads.add(threading.get_ident())
        return compile_object(*arguments)

    monkeypatch.setattr(jit, "compile_object", noting)
    together = jit._compiled(texts, MACHINE)
    assert len(threads) > 1
    assert together == {symbol: compile_object(symbol, text, MACHINE) for symbol, text in texts.items()}


def test_compiling_works_with_the_lock_too(monkeypatch):
    from llvmlite.binding import ffi

    text = constant("jit_locked", 5)
    free = jit.compile_object("jit_locked", text, MACHINE)
    monkeypatch.setattr(jit, "_library", lambda: ffi.lib)
    assert jit.compile_object("jit_locked", text, MACHINE) == free


def test_threads_that_load_the_same_get_the_same():
    functions = [(f"jit_shared{number}", constant(f"jit_shared{number}", number)) for number in range(10)]
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(jit.load(functions, MACHINE))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 6 and all(addresses == found[0] for addresses in found)


FORKS = """
import os, threading
from staticnet.runtime.native import host, jit
from tests.runtime.native import native_kernels as kernels

known = kernels.address(kernels.add(1), 2)
stop = threading.Event()

def compile_on():
    number = 1000
    while not stop.is_set():
        kernels.address(kernels.add(number), 2)
        number += 1

busy = threading.Thread(target=compile_on)
busy.start()
for turn in range(5):
    child = os.fork()
    if not child:
        again = kernels.address(kernels.add(1), 2)
        kernels.address(kernels.add(100 + turn), 2)
        os._exit(0 if again == known else 1)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
stop.set()
busy.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_in_the_midst_of_compiling():
    assert kernels.run_script(FORKS, {"STATICNET_CACHE": "0"}).split() == ["0"] * 5
