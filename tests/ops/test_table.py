"""The walker of the op table: every row is tested in every way an op can be wrong, one test each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest

from staticnet.compiler import evaluate as evaluation
from staticnet.compiler.autodiff import gradients
from staticnet.compiler.errors import ExportError
from staticnet.compiler.ir import REGISTRY, Graph, Node, has_rule
from staticnet.compiler.ops.base import F, Pointwise
from tests import standin
from tests.ops.harness import (
    LAYOUTS,
    Case,
    all_rows,
    assert_close,
    assert_same_bits,
    bound,
    build,
    draw,
    garbage,
    lay_out,
    poisoned,
    reference,
    run_into,
    run_measured,
    values_of,
)
from tests.ops.native_checks import check_native, check_native_program, check_native_values
from tests.ops.slopes import Gradient, compare_slopes, uniform, why_no_gradient
from tests.ops.table import SIZES, Row

#: further sizes for the letters, different from each other and from SIZES
OTHER_SIZES = ({"N": 3, "M": 5, "K": 2, "H": 9, "W": 7}, {"N": 5, "M": 2, "K": 6, "H": 7, "W": 8})
#: float64 is held to this much of the float32 tolerances
DOUBLE = 1e-7

#: operands or results from this size on show a temporary array of their size ...
LARGE = 1 << 20
#: ... beside what NumPy itself buffers when it casts: 8192 elements for each of a ufunc's operands
BUFFERS = 3 * 8192 * 8

ROWS = all_rows()


# -- shapes and dtypes -------------------------------------------------------------------------


def check_shape(row: Row, rng: np.random.Generator) -> None:
    """The inferred shape is that of the reference."""
    case = build(row)
    expected = reference(row, draw(row, rng))
    assert [node.aval.shape for node in case.results] == [value.shape for value in expected]


def check_dtype(row: Row, rng: np.random.Generator) -> None:
    """The inferred dtype is that of the reference, which is NumPy's, whatever float type goes in."""
    for dtype in ("float32", "float64"):
        expected = reference(row, draw(row, rng, dtype))
        inferred = [node.dtype.numpy for node in build(row, dtype).results]
        assert inferred == [value.dtype for value in expected], f"of {dtype}"


def check_symbolic(row: Row, rng: np.random.Generator) -> None:
    """With symbolic sizes the same graph is right for several bindings: types, values and gradients."""
    symbolic = build(row, "float64", sizes=None)
    for sizes in (SIZES,) if has_fixed_sizes(row) else (SIZES, *OTHER_SIZES):
        case, arrays = build(row, "float64", sizes), draw(row, rng, "float64", sizes)
        types = [bound(node.aval, sizes) for node in symbolic.results]
        assert types == [bound(node.aval, {}) for node in case.results], f"types for {sizes}"
        expected = case.run(arrays)
        assert_close(symbolic.run(arrays, binding=sizes), expected, 1e-13, 1e-13, f"for {sizes}")
        if why_no_gradient(row, case) is None:
            seeds = [rng.uniform(-1, 1, value.shape) for value in expected if value.dtype.kind == "f"]
            found, wanted = (Gradient(row, part).value(arrays, sizes, seeds) for part in (symbolic, case))
            assert_close(found, wanted, 1e-11, 1e-11, f"gradients for {sizes}")


def has_fixed_sizes(row: Row) -> bool:
    """Whether values that are written out give a letter its size."""
    return any(arg.values is not None and any(isinstance(size, str) for size in arg.shape) for arg in row.args)


# -- values ------------------------------------------------------------------------------------


def check_float32(row: Row, rng: np.random.Generator) -> None:
    check_layouts(row, draw(row, rng), build(row), row.rtol, row.atol)


def check_float64(row: Row, rng: np.random.Generator) -> None:
    check_layouts(row, draw(row, rng, "float64"), build(row, "float64"), row.rtol * DOUBLE, row.atol * DOUBLE)


def check_layouts(row: Row, arrays: Sequence[np.ndarray], case: Case, rtol: float, atol: float) -> None:
    """The kernel agrees with the reference however its operands lie, and leaves them as they were."""
    for layout in LAYOUTS:
        operands = [lay_out(array, layout) for array in arrays]
        before = [operand.tobytes() for operand in operands]
        assert_close(case.run(operands, poisoned), reference(row, operands), rtol, atol, f"operands {layout}")
        assert [operand.tobytes() for operand in operands] == before, f"operands {layout} were written to"


def check_in_place(row: Row, rng: np.random.Generator) -> None:
    """A result may take the memory of operands the card names, of several where they are one array of equal type."""
    case = build(row)
    values = dict(zip(case.inputs, draw(row, rng), strict=True))
    for node in case.nodes(row.ops[0]):
        arrays = evaluation.evaluate(node.inputs, values, case.binding)
        places = [i for i in node.op.in_place if node.inputs[i].type == node.type]
        for place in places:
            twins = [i for i in places if i != place]
            for shared in ([place], *([place, twin] for twin in twins)):
                overwrite(node, arrays, case, shared)


def overwrite(node: Node, arrays: Sequence[np.ndarray], case: Case, shared: Sequence[int]) -> None:
    """Run the kernel into the memory of the operands `shared`, which are one array."""
    place = shared[0]
    operands = [arrays[place] if i in shared else array for i, array in enumerate(arrays)]
    expected = garbage(operands[place].shape, operands[place].dtype)
    run_into(node, operands, case.binding, expected)
    out = garbage(expected.shape, expected.dtype)
    out[...] = operands[place]
    inside = [out if i in shared else lay_out(array, "dense") for i, array in enumerate(arrays)]
    run_into(node, inside, case.binding, out)
    assert_same_bits(out, expected, f"{node.op.name} into its operands {shared}")
    for i, array in enumerate(inside):
        assert i in shared or array.tobytes() == arrays[i].tobytes(), f"operand {i} was written to"


def check_expansion(row: Row, rng: np.random.Generator) -> None:
    """A card that has both means by its expansion what its kernel does, and has the same gradients."""
    case, arrays = build(row, "float64"), draw(row, rng, "float64")
    values = dict(zip(case.inputs, arrays, strict=True))
    for node in case.nodes(row.ops[0]):
        expanded = values_of(node.op.expand(*node.inputs))
        parts = values_of(node)
        operands = evaluation.evaluate(node.inputs, values, case.binding)
        if has_rule(node.op, "kernel"):
            found = evaluation.evaluate(parts, values, case.binding)
            wanted = evaluation.evaluate(expanded, values, case.binding)
            assert_close(found, wanted, 1e-12, 1e-12, f"the kernel of {node.op} against its expansion")
        if has_rule(node.op, "grad") and why_no_gradient(row, case) is None:
            known = dict(zip(node.inputs, operands, strict=True))
            xs = [source for source in node.inputs if source.dtype.is_float]
            seeds = [F.constant(seed) for seed in uniform(rng, [y for y in parts if y.dtype.is_float])]
            found, wanted = (
                evaluation.evaluate(
                    gradients([y for y in ys if y.dtype.is_float], xs, seeds, unconnected="zero"), known, case.binding
                )
                for ys in (parts, expanded)
            )
            assert_close(found, wanted, 1e-10, 1e-10, f"the gradient of {node.op} against its expansion's")


# -- memory ------------------------------------------------------------------------------------


def check_memory(row: Row, rng: np.random.Generator) -> None:
    """On large operands a kernel allocates nothing of their size beside its output and workspace."""
    sizes = large_sizes(row)
    if sizes is None:
        pytest.skip("the row has no letters that scale its operands")
    case, arrays = build(row, sizes=sizes), draw(row, rng, sizes=sizes)

    def measured(node: Node, arrays: Sequence[Any], binding: Any, xp: Any) -> Any:
        result, peak = run_measured(node, arrays, binding)
        assert peak <= BUFFERS, f"the kernel of {node.op.name} allocated {peak} bytes; declare them as scratch"
        return result

    with mock.patch.object(evaluation, "run_kernel", measured):
        case.run(arrays)


def large_sizes(row: Row) -> dict[str, int] | None:
    """SIZES times the least power of two that makes a result or an operand large."""
    if not row.symbolic or has_fixed_sizes(row) or all(isinstance(n, int) for arg in row.args for n in arg.shape):
        return None
    types = [node.aval for node in build(row, sizes=None).results]
    for power in range(19):
        sizes = {name: size << power for name, size in SIZES.items()}
        operands = [np.prod(arg.shape_in(sizes), dtype=float) * np.dtype(arg.dtype).itemsize for arg in row.args]
        shapes = [bound(type, sizes) for type in types]
        results = [np.prod(shape, dtype=float) * dtype.itemsize for shape, dtype in shapes]
        if max(*operands, *results) >= LARGE:
            return sizes
    return None


# -- gradients ---------------------------------------------------------------------------------


def check_gradient(row: Row, rng: np.random.Generator) -> None:
    """Along a random direction of each operand the symbolic slope is that of finite differences."""
    case, arrays = build(row, "float64"), draw(row, rng, "float64")
    skip_without_gradient(row, case)
    first = Gradient(row, case)
    seeds = uniform(rng, first.ys)
    values = dict(zip((*case.inputs, *first.seed_nodes), (*arrays, *seeds), strict=True))
    compare_slopes(first.ys, seeds, first.xs, first.nodes, values, rng, 1e-6)


def check_second(row: Row, rng: np.random.Generator) -> None:
    """The same of the gradient itself, contracted with a random vector."""
    case, arrays = build(row, "float64"), draw(row, rng, "float64")
    skip_without_gradient(row, case)
    first = Gradient(row, case)
    values = dict(zip((*case.inputs, *first.seed_nodes), (*arrays, *uniform(rng, first.ys)), strict=True))
    vectors = uniform(rng, first.xs)
    second = gradients(first.nodes, first.xs, [F.constant(vector) for vector in vectors], unconnected="zero")
    compare_slopes(first.nodes, vectors, first.xs, second, values, rng, 1e-5)


def skip_without_gradient(row: Row, case: Case) -> None:
    reason = why_no_gradient(row, case)
    if reason is not None:
        pytest.skip(reason)


# -- other worlds ------------------------------------------------------------------------------


def check_device(row: Row, rng: np.random.Generator) -> None:
    """The kernels run on arrays that are not NumPy's, by the names and arguments that CuPy has."""
    case, arrays = build(row), draw(row, rng)
    expected = case.run(arrays)
    for layout in ("dense", "transposed", "sliced"):
        operands = [standin.ndarray(lay_out(array, layout)) for array in arrays]
        results = case.run(operands, standin)
        assert all(isinstance(result, standin.ndarray) for result in results)
        assert_close([result.get() for result in results], expected, row.rtol, row.atol, f"operands {layout}")


def check_onnx(row: Row, rng: np.random.Generator, opset: int = 18) -> None:
    """Exported and run by onnxruntime the op gives what its kernel gives."""
    export = pytest.importorskip("staticnet.exporters.onnx.export")
    onnxruntime = pytest.importorskip("onnxruntime")
    arrays, case = draw(row, rng), build(row, sizes=None if row.symbolic else SIZES)
    expected = case.run(arrays, binding=SIZES)
    names = [f"y{i}" for i in range(len(expected))]
    model = export.to_model(Graph(case.inputs, case.results, output_names=names), states={}, opset=opset)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {node.op.label: array for node, array in zip(case.inputs, arrays, strict=True)}  # type: ignore[attr-defined]
    wanted = {value.name for value in session.get_inputs()}
    results = session.run(names, {name: array for name, array in feeds.items() if name in wanted})
    assert_close(results, expected, max(row.rtol, 2e-6), max(row.atol, 1e-6), f"opset {opset}")


def check_refused(row: Row, rng: np.random.Generator) -> None:
    """A row that is not exported is refused, with the reason that stands in NOT_EXPORTABLE."""
    export = pytest.importorskip("staticnet.exporters.onnx.export")
    lowering = pytest.importorskip("staticnet.exporters.onnx.lowering")
    case = build(row)
    with pytest.raises(ExportError) as refusal:
        export.to_model(Graph(case.inputs, case.results), states={})
    assert any(reason in refusal.value.message for reason in lowering.NOT_EXPORTABLE.values())


# -- which checks a row has --------------------------------------------------------------------

CHECKS: dict[str, Callable[[Row, np.random.Generator], None]] = {
    "shape": check_shape,
    "dtype": check_dtype,
    "symbolic": check_symbolic,
    "float32": check_float32,
    "float64": check_float64,
    "in_place": check_in_place,
    "expansion": check_expansion,
    "memory": check_memory,
    "gradient": check_gradient,
    "second": check_second,
    "device": check_device,
    "onnx": check_onnx,
    "refused": check_refused,
    "native": check_native,
    "native_values": check_native_values,
    "native_program": check_native_program,
}


def applies(name: str, row: Row) -> bool:
    """Whether a check has anything to look at in this row."""
    card = REGISTRY.get(row.ops[0])
    if card is None:
        return name == "shape"
    if name == "in_place":
        return bool(card.in_place)
    if name == "expansion":
        return has_rule(card, "expand") and (has_rule(card, "kernel") or has_rule(card, "grad"))
    if name == "native_values":
        return issubclass(card, Pointwise)
    return {"symbolic": row.symbolic, "second": row.second, "onnx": row.onnx, "refused": not row.onnx}.get(name, True)


def cases() -> Iterator[Any]:
    for row in ROWS:
        for name, check in CHECKS.items():
            if applies(name, row):
                yield pytest.param(row, check, id=f"{row.id}-{name}")


@pytest.mark.parametrize(("row", "check"), list(cases()))
def test_op(row: Row, check: Callable[[Row, np.random.Generator], None], rng: np.random.Generator) -> None:
    check(row, rng)


@pytest.mark.sweep
@pytest.mark.parametrize("age", ["oldest", "newest"])
@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if row.onnx])
def test_opset(row: Row, age: str, rng: np.random.Generator) -> None:
    """At the ends of the range of opsets too, unless the op is refused by name and with an opset that has it."""
    versions = pytest.importorskip("staticnet.exporters.onnx.versions")
    opset = versions.OLDEST_OPSET if age == "oldest" else versions.newest_opset()
    try:
        check_onnx(row, rng, opset)
    except ExportError as error:
        since = re.search(r"^\w+ has no form at opset \d+; take opset (\d+) or a later one$", error.message)
        assert since and int(since[1]) > opset, error
        pytest.skip(error.message)


def test_rows_are_told_apart() -> None:
    ids = [row.id for row in ROWS]
    assert not {id for id in ids if ids.count(id) > 1}
