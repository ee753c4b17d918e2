"""The intermediate representation: types, op cards, nodes, graphs, their text form."""

from staticnet.compiler.ir.graph import Graph, topological
from staticnet.compiler.ir.node import FUNCTIONS, Builder, Node, apply, building, current_builder
from staticnet.compiler.ir.op import REGISTRY, Layout, Op, bind_shape, has_rule
from staticnet.compiler.ir.types import AnyType, Shape, TupleType, Type, format_shape, leaves
from staticnet.compiler.ir.value import Value

__all__ = [
    "FUNCTIONS",
    "REGISTRY",
    "AnyType",
    "Builder",
    "Graph",
    "Layout",
    "Node",
    "Op",
    "Shape",
    "TupleType",
    "Type",
    "Value",
    "apply",
    "bind_shape",
    "building",
    "current_builder",
    "format_shape",
    "has_rule",
    "leaves",
    "topological",
]
