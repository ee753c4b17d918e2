"""The C header of an exported program: the struct of an instance, the functions, and what is known of sizes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from staticnet.compiler.dtypes import DType
from staticnet.runtime.native.export_plan import ALIGNMENT, Member, Plan, Value

#: the type of an element in C; float16 is handed over as its bits
_TYPES = {"bool": "uint8_t", "float16": "uint16_t", "float32": "float", "float64": "double"}

_ALIGNED = f"""\
#ifndef STATICNET_ALIGNED
#if defined(_MSC_VER)
#define STATICNET_ALIGNED __declspec(align({ALIGNMENT}))
#elif defined(__GNUC__)
#define STATICNET_ALIGNED __attribute__((aligned({ALIGNMENT})))
#elif defined(__cplusplus) && __cplusplus >= 201103L
#define STATICNET_ALIGNED alignas({ALIGNMENT})
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define STATICNET_ALIGNED _Alignas({ALIGNMENT})
#else
#define STATICNET_ALIGNED
#endif
#endif
"""


def header_text(plan: Plan) -> str:
    """The text of the header."""
    return "\n".join(part.rstrip("\n") + "\n" for part in _parts(plan))


def c_type(dtype: DType) -> str:
    """The type of one element in C."""
    return _TYPES.get(dtype.name, f"{dtype.name}_t")


def _parts(plan: Plan) -> Iterator[str]:
    name, guard = plan.name, f"STATICNET_{plan.name.upper()}_H"
    yield _comment(_introduction(plan))
    yield f"#ifndef {guard}\n#define {guard}\n"
    yield "#include <stddef.h>\n#include <stdint.h>\n"
    yield _ALIGNED
    yield _sizes(plan)
    yield '#ifdef __cplusplus\nextern "C" {\n#endif\n'
    yield _struct(plan)
    yield f"typedef char {name}_size_is_right[sizeof({name}_t) == {name.upper()}_BYTES ? 1 : -1];\n"
    yield _functions(plan)
    yield "#ifdef __cplusplus\n}\n#endif\n"
    yield "#endif\n"


def _introduction(plan: Plan) -> str:
    name, machine = plan.name, plan.machine
    program = plan.program
    sizes = ", ".join(f"{size} = {number}" for size, number in program.binding.items())
    opening = f"The native code of {_plain(program.name)}{f', {_plain(sizes)}' if sizes else ''}, for "
    opening += f"{machine.triple}, {machine.name} and processors that can do as much. Written by staticnet."
    use = f"Make an instance, {name}_t, and {name}_init it; then call {name}_run as often as you like."
    if plan.state_bytes:
        use += (
            f" What a run changes is the first {name.upper()}_STATE_BYTES bytes of the instance: copy them, or write"
            " them to a file, to keep it."
        )
    memory = (
        "Nothing is allocated, and nothing is shared but constants: several instances can live at once, in several "
        "threads; one instance runs in one thread at a time. Arrays are row-major, without gaps, and aligned as their "
        "elements are. The instance itself is aligned to "
        f"{ALIGNMENT} bytes where the compiler makes it; elsewhere a multiple of 8 is enough, and slower. No two of "
        "the arrays of a run may overlap, but inputs may, with each other; nor may one overlap the instance."
    )
    linking = "It needs memcpy and memset, and functions of the C library's <math.h>: link with -lm."
    return "\n\n".join((opening, use, memory, linking))


def _sizes(plan: Plan) -> str:
    """Macros of what an instance and the arrays hold."""
    prefix = plan.name.upper()
    lines = [f"#define {prefix}_BYTES {plan.nbytes}u", f"#define {prefix}_WORKSPACE_BYTES {plan.workspace_bytes}u"]
    if plan.state_bytes:
        lines.append(f"#define {prefix}_STATE_BYTES {plan.state_bytes}u")
    for value in (*plan.feeds, *plan.outputs, *plan.pointers):
        own = f"{prefix}_{value.name.upper()}"
        lines.append(f"#define {own}_SIZE {value.size}")
        if value.shape:
            lines.append(f"#define {own}_SHAPE {{{', '.join(map(str, value.shape))}}}")
    return "/* bytes of an instance; elements and shapes of arrays */\n" + "\n".join(lines) + "\n"


def _struct(plan: Plan) -> str:
    name = plan.name
    lines, place = [], 0
    for number, member in enumerate(plan.members):
        if member.offset > place:
            lines.append(f"unsigned char padding{number}_[{member.offset - place}];")
        lines.append(_member(member))
        place = member.offset + member.nbytes
    if plan.workspace_offset > place:
        lines.append(f"unsigned char padding_[{plan.workspace_offset - place}];")
    lines.append(f"unsigned char workspace[{name.upper()}_WORKSPACE_BYTES];")
    lines[0] = f"STATICNET_ALIGNED {lines[0]}"
    body = "\n".join(f"    {line}" for line in lines)
    return f"typedef struct {name} {{\n{body}\n}} {name}_t;\n"


def _member(member: Member) -> str:
    kind = c_type(member.type.dtype)
    what = f"/* {_kind(member)}{', updated' if member.is_updated else ''} */"
    if member.is_pointer:
        return f"const {kind} *{member.name}; {what}"
    return f"{kind} {member.name}{f'[{max(member.size, 1)}]' if member.shape else ''}; {what}"


def _functions(plan: Plan) -> str:
    name = plan.name
    init = "Give every state its first value. To be called before anything else; again, to begin anew."
    run = [
        "Run once: 0, or the number of the step that refused the values it was given. Then no state has changed, and "
        "outputs are not written. An output that is NULL is left out."
    ]
    run += [f"{value.name}: {_kind(value)}" for value in (*plan.feeds, *plan.outputs)]
    parameters = [f"{name}_t *model"]
    parameters += [f"const {c_type(value.type.dtype)} *{value.name}" for value in plan.feeds]
    parameters += [f"{c_type(value.type.dtype)} *{value.name}" for value in plan.outputs]
    parts = [_comment(init), f"void {name}_init({name}_t *model);"]
    if plan.pointers:
        prepare = (
            "States that no run changes are read where the pointers in the instance lead, at first to the file's own. "
            "Call this when you have made one lead elsewhere, or changed what it leads to."
        )
        parts += ["", _comment(prepare), f"void {name}_prepare({name}_t *model);"]
    parts += ["", _comment("\n".join(run)), f"int {name}_run({', '.join(parameters)});"]
    parts += ["", _comment(f"What a result of {name}_run means."), f"const char *{name}_error(int code);"]
    size = f"{name.upper()}_BYTES, for callers that cannot read this file."
    parts += ["", _comment(size), f"size_t {name}_bytes(void);"]
    return "\n".join(parts) + "\n"


def _kind(value: Value) -> str:
    """`float32 (16, 1, 3, 3)`, and what the program calls it unless that is its name in C."""
    shape = ", ".join(map(str, value.shape)) + ("," if len(value.shape) == 1 else "")
    label = "" if value.label == value.name else f" {_plain(value.label)}"
    return f"{value.type.dtype} ({shape}){label}"


def _plain(text: str) -> str:
    """Text that can stand in a comment."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return printable.replace("*/", "* /").replace("/*", "/ *").encode("ascii", "backslashreplace").decode()


def _comment(text: str) -> str:
    lines = [line for paragraph in text.split("\n") for line in textwrap.wrap(paragraph, 110) or [""]]
    if len(lines) == 1:
        return f"/* {lines[0]} */"
    return "\n".join(["/*", *(f" * {line}".rstrip() for line in lines), " */"])
