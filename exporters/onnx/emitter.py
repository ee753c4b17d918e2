"""The ONNX graph under construction: values by node, one copy of each tensor, names and source lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import onnx

from staticnet.compiler.dtypes import DType
from staticnet.compiler.errors import ExportError
from staticnet.compiler.ir import Graph, Node, Type, leaves
from staticnet.compiler.ops.leaf import Constant
from staticnet.compiler.origins import Origin
from staticnet.exporters.onnx.dtypes import tensor_type, value_info
from staticnet.exporters.onnx.names import Names, escape, node_name
from staticnet.exporters.onnx.sizes import Sizes

#: a tensor of so many bytes may stand in the file where it could be computed
SMALL = 4096
#: what a node computes in the file: the name of its value, or of each of its values
Values = str | tuple[str, ...]


class Emitter:
    """Collects the nodes, initializers and types of one ONNX graph.

    A lowering asks `value` for its operands and makes nodes with `emit`; whatever it emits carries the
    name and source line of the graph node that is being lowered. Initializers come into being when
    they are first asked for, so none is unused.
    """

    def __init__(self, graph: Graph, states: Mapping[Node, np.ndarray], opset: int):
        self.graph = graph
        self.opset = opset
        self.sizes = Sizes(self)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.types: dict[str, Type] = {}
        self._states = states
        self._values: dict[Node, Values] = {}
        self._constants: dict[tuple, str] = {}
        self._value_names = Names()
        self._node_names = Names()
        self._current: Node | None = None
        self.feeds = [node for node in graph.inputs if getattr(node.op, "kind", "feed") == "feed"]
        needed = set(graph.outputs)
        for node in reversed(graph.nodes):
            if node in needed:
                needed.update(node.inputs)
        #: the nodes that the outputs are computed from
        self.needed = needed
        for node in self.feeds:
            name = self._value_names.unique(self.label(node), "input")
            self._bind(node, name)

    # -- values -------------------------------------------------------------------------------

    def value(self, node: Node) -> str:
        """The name of a node's value in the file."""
        values = self.values(node)
        assert isinstance(values, str), f"{node.op} has several values"
        return values

    def values(self, node: Node) -> Values:
        """The name of a node's value, or of each item of a tuple."""
        if node not in self._values:
            if isinstance(node.op, Constant):
                self._bind(node, self.constant(node.op.value, wish=self.label(node) or "constant"))
            elif node not in self._states:
                raise self.error(node, f"no array was given for state {self.label(node)!r}")
            else:
                self._bind(node, self._initializer(self._states[node], self.label(node)))
        return self._values[node]

    def label(self, node: Node) -> str:
        """The user's name of a node, empty where it has none."""
        return self.graph.names.get(node, getattr(node.op, "label", ""))

    def operands(self, node: Node) -> list[str]:
        """The names of the values that a node reads."""
        return [self.value(source) for source in node.inputs]

    def lowered(self, node: Node, values: Values) -> None:
        """Note what the node that is being lowered is called in the file."""
        self._bind(node, values)

    def _bind(self, node: Node, values: Values) -> None:
        self._values[node] = values
        for name, type in zip((values,) if isinstance(values, str) else values, leaves(node.type), strict=True):
            self.types[name] = type

    # -- making -------------------------------------------------------------------------------

    def lowering(self, node: Node) -> None:
        """From here on everything is emitted on behalf of `node`."""
        self._current = node

    def emit(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """One ONNX node with one result; its name. Attributes that are None are left out."""
        return self.emit_several(operator, 1, *inputs, **attributes)[0]

    def emit_several(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> tuple[str, ...]:
        """One ONNX node with several results; their names. An empty input name leaves an optional one out."""
        self._require_operator(operator)
        origin = self.origin(self._current)
        name = self._node_names.unique(node_name(origin, operator))
        results = tuple(self._value_names.unique(f"{name}_output_{k}") for k in range(outputs))
        given = {key: value for key, value in attributes.items() if value is not None}
        made = onnx.helper.make_node(operator, inputs, results, name, **given)
        if origin is not None:
            made.doc_string = escape(origin.short)
        self.nodes.append(made)
        return results

    def constant(self, value: Any, dtype: DType | None = None, wish: str = "constant") -> str:
        """An initializer of this content, shared by all that ask for an equal one."""
        array = np.ascontiguousarray(value if dtype is None else np.asarray(value, dtype.numpy))
        array = array.reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._initializer(array, wish)
        return self._constants[key]

    def ints(self, values: Sequence[int]) -> str:
        """An initializer with one axis of int64, as axes and shapes are given."""
        return self.constant(np.array(values, np.int64).reshape(len(values)))

    def cast(self, value: str, dtype: DType) -> str:
        """The value in another dtype."""
        return self.emit("Cast", value, to=tensor_type(dtype))

    def _initializer(self, array: np.ndarray, wish: str) -> str:
        name = self._value_names.unique(wish, "constant")
        self.initializers[name] = array
        return name

    def _require_operator(self, operator: str) -> None:
        if not has_operator(operator, self.opset):
            first = onnx.defs.get_schema(operator).since_version if onnx.defs.has(operator) else None
            since = f" (ONNX has had it since opset {first})" if first else ""
            self.refuse(f"has no form at opset {self.opset}: it needs {operator}{since}; take another opset")

    # -- errors -------------------------------------------------------------------------------

    def origin(self, node: Node | None) -> Origin | None:
        """Where in the user's script a node was made, as far as it is known."""
        places = self.graph.origins.get(node, ()) if node is not None else ()
        return places[0] if places else None

    def error(self, node: Node | None, message: str) -> ExportError:
        return ExportError(message, origin=self.origin(node))

    def refuse(self, reason: str) -> NoReturn:
        """Raise ExportError: the op that is being lowered `reason`."""
        name = self._current.op.name if self._current is not None else "the graph"
        raise self.error(self._current, f"{name} {reason}")

    # -- the end ------------------------------------------------------------------------------

    def finish(self, name: str) -> onnx.GraphProto:
        """The finished graph, its results under the graph's output names."""
        renamed: dict[str, str] = {}
        made = {result for node in self.nodes for result in node.output}
        outputs = []
        for node, wish in zip(self.graph.outputs, self.graph.output_names, strict=True):
            self.lowering(node)
            value = self.value(node)
            if value not in made or value in renamed:
                # A feed, a tensor or another output: a file's outputs are values of their own.
                value = self.emit("Identity", value)
                self.types[value] = node.aval
            renamed[value] = self._value_names.unique(wish, "output")
            outputs.append(value_info(renamed[value], node.aval))
        for node, values in self._values.items():
            # Names that the user gave to values on the way.
            if node in self.graph.names and isinstance(values, str) and values in made and values not in renamed:
                renamed[values] = self._value_names.unique(self.graph.names[node])
        for proto in self.nodes:
            for field in (proto.input, proto.output):
                field[:] = [renamed.get(value, value) for value in field]
        self.types = {renamed.get(value, value): type for value, type in self.types.items()}
        inputs = [value_info(self.value(node), node.aval) for node in self.feeds]
        tensors = [onnx.numpy_helper.from_array(array, key) for key, array in self.initializers.items()]
        return onnx.helper.make_graph(self.nodes, escape(name) or "graph", inputs, outputs, tensors)


def is_small(type: Type) -> bool:
    """Whether a value of this type is worth storing rather than computing."""
    return isinstance(type.bytes, int) and type.bytes <= SMALL


def has_operator(operator: str, opset: int) -> bool:
    """Whether the ONNX standard has this operator at this opset."""
    try:
        return not onnx.defs.get_schema(operator, opset, "").deprecated
    except onnx.defs.SchemaError:
        return False
