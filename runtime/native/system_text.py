"""What the native driver needs of system and processor, as LLVM IR text: to sleep on a word, and usual arithmetic.

    sleep(word, old)        until somebody wakes the word, unless it is no longer `old`; may return at any time
    wake(word)              all that sleep on it
    pause()                 a moment between two looks at a word
    usual_arithmetic()      rounding and denormals as every thread begins with; what was set before
    restore_arithmetic(old)

Arithmetic is set because the bits of results must not depend on the thread that computes them, nor on libraries
that set the mode of one thread.
"""

from __future__ import annotations

from staticnet.compiler.errors import CompilerError

_LINUX = """
declare i64 @syscall(i64, ...)
define internal void @sleep(ptr %word, i32 %old) nounwind noinline {
  %unused = call i64 (i64, ...) @syscall(i64 $futex, ptr %word, i64 128, i32 %old, ptr null, ptr null, i64 0)
  ret void
}
define internal void @wake(ptr %word) nounwind noinline {
  %unused = call i64 (i64, ...) @syscall(i64 $futex, ptr %word, i64 129, i32 2147483647, ptr null, ptr null, i64 0)
  ret void
}
"""
_DARWIN = """
declare i32 @__ulock_wait(i32, ptr, i64, i32)
declare i32 @__ulock_wake(i32, ptr, i64)
define internal void @sleep(ptr %word, i32 %old) nounwind noinline {
  %value = zext i32 %old to i64
  %unused = call i32 @__ulock_wait(i32 1, ptr %word, i64 %value, i32 0)
  ret void
}
define internal void @wake(ptr %word) nounwind noinline {
  %unused = call i32 @__ulock_wake(i32 257, ptr %word, i64 0)
  ret void
}
"""
_WINDOWS = """
declare i32 @WaitOnAddress(ptr, ptr, i64, i32)
declare void @WakeByAddressAll(ptr)
define internal void @sleep(ptr %word, i32 %old) nounwind noinline {
  %place = alloca i32
  store i32 %old, ptr %place
  %unused = call i32 @WaitOnAddress(ptr %word, ptr %place, i64 4, i32 -1)
  ret void
}
define internal void @wake(ptr %word) nounwind noinline {
  call void @WakeByAddressAll(ptr %word)
  ret void
}
"""

_X86 = """
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define internal void @pause() nounwind noinline {
  call void @llvm.x86.sse2.pause()
  ret void
}
define internal i64 @usual_arithmetic() nounwind noinline {
  %old = alloca i32
  %new = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %old)
  store i32 8064, ptr %new
  call void @llvm.x86.sse.ldmxcsr(ptr %new)
  %value = load i32, ptr %old
  %wide = zext i32 %value to i64
  ret i64 %wide
}
define internal void @restore_arithmetic(i64 %wide) nounwind noinline {
  %place = alloca i32
  %value = trunc i64 %wide to i32
  store i32 %value, ptr %place
  call void @llvm.x86.sse.ldmxcsr(ptr %place)
  ret void
}
"""
_ARM = """
declare void @llvm.aarch64.hint(i32)
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
define internal void @pause() nounwind noinline {
  call void @llvm.aarch64.hint(i32 1)
  ret void
}
define internal i64 @usual_arithmetic() nounwind noinline {
  %old = call i64 @llvm.aarch64.get.fpcr()
  call void @llvm.aarch64.set.fpcr(i64 0)
  ret i64 %old
}
define internal void @restore_arithmetic(i64 %old) nounwind noinline {
  call void @llvm.aarch64.set.fpcr(i64 %old)
  ret void
}
"""

_SYSTEMS = (("linux", _LINUX), ("darwin", _DARWIN), ("macosx", _DARWIN), ("windows", _WINDOWS))
#: text, and the number of Linux's futex call
_PROCESSORS = {"x86_64": (_X86, 202), "aarch64": (_ARM, 98), "arm64": (_ARM, 98)}


def system_text(triple: str) -> str:
    """The five functions for a processor and system that LLVM names so.

    Raises CompilerError for those not provided for.
    """
    processor, _, rest = triple.partition("-")
    waiting = next((text for name, text in _SYSTEMS if name in rest), None)
    if waiting is None or processor not in _PROCESSORS:
        raise CompilerError(f"native execution is not provided for {triple}; set STATICNET_NATIVE=0")
    arithmetic, futex = _PROCESSORS[processor]
    return waiting.replace("$futex", str(futex)) + arithmetic


def arithmetic_text(triple: str) -> str:
    """Only what sets and restores the arithmetic of a thread.

    Raises CompilerError for processors not provided for.
    """
    processor = triple.partition("-")[0]
    if processor not in _PROCESSORS:
        raise CompilerError(f"native code is not provided for {triple}")
    return _PROCESSORS[processor][0]
