"""Element types in ONNX, and the way round where an operator, or onnxruntime's kernel of it, lacks one."""

from __future__ import annotations

import onnx

from staticnet.compiler import dtypes
from staticnet.compiler.dtypes import DType
from staticnet.compiler.ir import Type

_SMALL = "int8 int16 uint8 uint16"
_FLOATS = "float16 float32 float64"
_WIDE = f"int32 int64 {_FLOATS}"

#: operator -> what onnxruntime's CPU kernels of it take at every opset; operators not named here take
#: whatever their schema says. Measured on onnxruntime 1.20 and 1.31.
TAKES: dict[str, str] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Pow"), _WIDE),
    # onnxruntime 1.20 lacks uint64 here, for which there is no way round.
    **dict.fromkeys(("Div", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"), f"uint64 {_WIDE}"),
    "Equal": f"bool uint64 {_WIDE}",
    # Of half floats the one loses NaN, the other overflows.
    "Sign": f"{_SMALL} uint32 uint64 int32 int64 float32 float64",
    "Softplus": "float32",
    "Max": f"uint32 uint64 {_WIDE}",
    "Min": f"uint32 uint64 {_WIDE}",
    "Clip": f"int8 uint8 uint32 uint64 {_WIDE}",
    "Neg": f"int8 {_WIDE}",
    "IsInf": "float32 float64",
    "Relu": _FLOATS,
    **dict.fromkeys(("Erf", "Gelu", "Elu", "LeakyRelu"), "float16 float32"),
    **dict.fromkeys(("Conv", "ConvTranspose", "AveragePool", "GlobalAveragePool"), "float16 float32"),
    "MaxPool": f"int8 uint8 {_FLOATS}",
    **dict.fromkeys(("MatMul", "CumSum"), _WIDE),
    "Gemm": _FLOATS,
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceProd", "ReduceLogSumExp"), _WIDE),
    **dict.fromkeys(("ReduceMax", "ReduceMin"), f"int8 uint8 {_WIDE}"),
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK"), _WIDE),
    "Pad": f"bool int8 uint8 uint32 uint64 {_WIDE}",
    "Where": f"uint8 {_WIDE}",
    "Range": _WIDE.replace(" float16", ""),
}

#: where a value of a dtype may be computed instead, nearest first: wide enough for every element
_WIDER = {
    "bool": "uint8 int32",
    "int8": "int32",
    "int16": "int32",
    "uint8": "int32",
    "uint16": "int32",
    "int32": "int64",
    "uint32": "int64",
    "float16": "float32",
}
#: operators whose result modulo 2^64 depends on the operands modulo 2^64 alone, so that signs do not matter
_MODULAR = ("Add", "Sub", "Mul", "Neg", "Where", "ReduceSum", "ReduceProd", "MatMul", "CumSum")


def tensor_type(dtype: DType) -> int:
    """The number of the dtype in TensorProto."""
    return onnx.helper.np_dtype_to_tensor_dtype(dtype.numpy)


def route(operator: str, dtype: DType) -> DType | None:
    """The dtype in which `operator` computes values of `dtype` exactly: itself, a wider one, or None."""
    takes = TAKES.get(operator)
    if takes is None or dtype.name in takes.split():
        return dtype
    if dtype == dtypes.uint64 and operator in _MODULAR:
        return dtypes.int64
    for name in _WIDER.get(dtype.name, "").split():
        if name in takes.split():
            return dtypes.as_dtype(name)
    return None


def value_info(name: str, type: Type) -> onnx.ValueInfoProto:
    """The declaration of a value, its symbolic sizes named as they print."""
    shape = [size if isinstance(size, int) else str(size) for size in type.shape]
    return onnx.helper.make_tensor_value_info(name, tensor_type(type.dtype), shape)
