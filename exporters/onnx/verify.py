"""Verification: a file, run by onnxruntime, gives what the model gives, at every batch size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from staticnet.compiler import dims
from staticnet.compiler.errors import ArgumentError, ExportError, MissingDependencyError
from staticnet.exporters.onnx.checks import checker_problems, inferred_shape, inferred_types
from staticnet.exporters.onnx.report import Comparison, VerificationReport

#: the arrays of a call in, in the order of the file's inputs, and all results out
Reference = Callable[[list[np.ndarray]], Sequence[Any]]
#: makes the values of one input from its shape
Draw = Callable[[tuple[int, ...], np.random.Generator], Any]

#: relative and absolute tolerance by dtype; everything else must be equal
TOLERANCES = {"float16": (1e-2, 1e-3), "float32": (1e-4, 1e-5), "float64": (1e-7, 1e-9)}
#: what named sizes other than the batch are, counted up: more than most kernels span
OTHER_SIZE = 16


def verify(
    path: str | os.PathLike[str] | onnx.ModelProto,
    reference: Reference,
    *,
    batch: Sequence[int] = (1, 2, 7),
    sizes: Mapping[str, int] | None = None,
    inputs: Mapping[str, Draw] | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
) -> VerificationReport:
    """Compare a file in onnxruntime with `reference` on drawn inputs, once for each size in `batch`.

    `batch` goes to the size called "batch", else to the first named one on an axis 0; other named
    sizes are `sizes[name]`, else 16, 17, ... Inputs are standard normal, integers 0 or 1, booleans
    fair, unless `inputs[name](shape, rng)` draws them. Shapes, dtypes and values are compared, floats
    to within `atol + rtol * |expected|` (by default 1e-5 and 1e-4 for float32), and the file must
    pass onnx's checker with shape inference. What fails is in the report; raises only for a file that
    cannot be read, a name that the file does not have, and a missing onnxruntime.
    """
    model, content, name = _load(path)
    runtime = _onnxruntime()
    report = VerificationReport(name, _versions(model, runtime))
    report.problems += [*checker_problems(model), *_declared_otherwise(model)]
    try:
        session = _session(runtime, content)
    except Exception as error:  # onnxruntime has an exception class for each of its codes, without a base of their own
        report.problems.append(f"onnxruntime does not load it: {str(error).strip()}")
        return report
    feeds = _inputs(model)
    for binding in _bindings(feeds, batch, sizes or {}):
        arrays = _draw(feeds, binding, inputs or {}, seed)
        results = session.run(None, dict(zip((info.name for info in feeds), arrays, strict=True)))
        expected = [np.asarray(value) for value in reference([array.copy() for array in arrays])]
        names = [info.name for info in model.graph.output]
        if len(expected) != len(names):
            raise ArgumentError(
                f"the file has {len(names)} outputs ({', '.join(names)}), the model gives {len(expected)}"
            )
        for info, actual, wanted in zip(model.graph.output, results, expected, strict=True):
            report.rows.append(_compare(info.name, binding, actual, wanted, rtol, atol))
            report.problems += _shape_problems(info, actual.shape, binding)
    return report


# -- the file ---------------------------------------------------------------------------------


def _load(path: Any) -> tuple[onnx.ModelProto, bytes, str]:
    if isinstance(path, onnx.ModelProto):
        return path, path.SerializeToString(), path.graph.name
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError as error:
        raise ArgumentError(f"cannot read '{os.fspath(path)}': {error.strerror}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:
        raise ExportError(f"'{os.fspath(path)}' is no ONNX file, or a damaged one: {error}") from error
    if not model.HasField("graph"):
        raise ExportError(f"'{os.fspath(path)}' is no ONNX file: there is no graph in it")
    return model, content, os.path.basename(os.fspath(path))


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError(
            'verifying a file needs onnxruntime, which is not installed: pip install "staticnet[ort]"'
        ) from None
    return onnxruntime


def _session(runtime: Any, content: bytes) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _versions(model: onnx.ModelProto, runtime: Any) -> str:
    opset = next((entry.version for entry in model.opset_import if entry.domain == ""), None)
    return f"opset {opset}, IR {model.ir_version}, onnxruntime {runtime.__version__}"


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    tensors = {tensor.name for tensor in model.graph.initializer}
    return [info for info in model.graph.input if info.name not in tensors]


def _declared_otherwise(model: onnx.ModelProto) -> list[str]:
    """Where shape inference contradicts what the file declares of its outputs."""
    inferred = inferred_types(model)
    if isinstance(inferred, str):
        return [inferred]
    problems = []
    for declared in model.graph.output:
        found = inferred.get(declared.name)
        if found is None or not all(info.type.tensor_type.HasField("shape") for info in (declared, found)):
            continue
        ours, theirs = inferred_shape(declared), inferred_shape(found)
        differ = [a != b for a, b in zip(ours, theirs, strict=False) if isinstance(a, int) and isinstance(b, int)]
        if len(ours) != len(theirs) or any(differ):
            problems.append(f"output {declared.name!r} is declared as {ours}, shape inference gives {theirs}")
    return problems


# -- the inputs -------------------------------------------------------------------------------


def _bindings(
    feeds: Sequence[onnx.ValueInfoProto], batch: Sequence[int], sizes: Mapping[str, int]
) -> Iterator[dict[str, int]]:
    """The values of the named sizes in each run; one run where no size has a name."""
    shapes = [_shape(info, "batch") for info in feeds]
    symbols = dict.fromkeys(name for shape in shapes for size in shape for name in sorted(dims.symbols(size)))
    unknown = sorted(set(sizes) - set(symbols))
    if unknown:
        raise ArgumentError(
            f"the file has no size called {', '.join(map(repr, unknown))}; it has {', '.join(symbols) or 'none'}"
        )
    leading = [name for shape in shapes for size in shape[:1] for name in sorted(dims.symbols(size))]
    varied = "batch" if "batch" in symbols else next(iter(leading), next(iter(symbols), None))
    others = [name for name in symbols if name != varied and name not in sizes]
    fixed = {**sizes, **{name: OTHER_SIZE + k for k, name in enumerate(others)}}
    if varied is None or varied in sizes:
        yield dict(fixed)
        return
    for number in batch:
        yield {varied: int(number), **fixed}


def _shape(info: onnx.ValueInfoProto, first: str = "") -> tuple[dims.Size, ...]:
    """The declared shape; a size without a name is one of its own, or on axis 0 called `first`."""
    sizes = []
    for axis, size in enumerate(inferred_shape(info)):
        own = first if first and axis == 0 else f"{info.name}[{axis}]"
        sizes.append(size if isinstance(size, int) else dims.parse(size or own))
    return tuple(sizes)


def _draw(
    feeds: Sequence[onnx.ValueInfoProto], binding: Mapping[str, int], draws: Mapping[str, Draw], seed: int
) -> list[np.ndarray]:
    unknown = sorted(set(draws) - {info.name for info in feeds})
    if unknown:
        names = ", ".join(info.name for info in feeds)
        raise ArgumentError(f"the file has no input called {', '.join(map(repr, unknown))}; it has {names}")
    rng = np.random.default_rng(seed)
    arrays = []
    for info in feeds:
        shape = tuple(dims.evaluate(size, binding) for size in _shape(info, "batch"))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        drawn = draws[info.name](shape, rng) if info.name in draws else _default(shape, dtype, rng)
        arrays.append(np.ascontiguousarray(drawn, dtype).reshape(shape))
    return arrays


def _default(shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype) if dtype.kind == "f" else rng.integers(0, 2, shape).astype(dtype)


# -- the results ------------------------------------------------------------------------------


def _compare(
    name: str,
    binding: Mapping[str, int],
    actual: np.ndarray,
    expected: np.ndarray,
    rtol: float | None,
    atol: float | None,
) -> Comparison:
    row = Comparison(name, dict(binding), str(actual.dtype), actual.shape, str(expected.dtype), expected.shape)
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return row
    relative, absolute = TOLERANCES.get(str(expected.dtype), (0.0, 0.0))
    relative, absolute = relative if rtol is None else rtol, absolute if atol is None else atol
    row.measure(actual, expected, relative, absolute)
    return row


def _shape_problems(info: onnx.ValueInfoProto, shape: tuple[int, ...], binding: Mapping[str, int]) -> list[str]:
    """Where a result has another shape than the file declares."""
    if not info.type.tensor_type.HasField("shape"):
        return []
    known = [size if dims.symbols(size) - set(binding) else dims.evaluate(size, binding) for size in _shape(info)]
    if len(known) == len(shape) and all(isinstance(k, dims.Dim) or k == n for k, n in zip(known, shape, strict=True)):
        return []
    return [f"output {info.name!r} is declared as {inferred_shape(info)} but came out as {shape} for {dict(binding)}"]
