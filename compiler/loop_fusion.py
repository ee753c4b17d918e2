"""Fusion for targets that run a group of nodes as one loop nest: clusters with several results.

A cluster works on one iteration space. Pointwise nodes join the cluster of their first users, also where their
results are needed later; so do reductions of one set of axes, and what reads them again where that is
done line by line (softmax, layer norm); and one anchor, an op such as a convolution whose results are passed
on element by element. Then reductions join what makes their operand, and each other.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence

from staticnet.compiler import dims
from staticnet.compiler.codegen.loops.pointwise import has_meaning
from staticnet.compiler.errors import CompilerError
from staticnet.compiler.fusion import Group, broadcasts
from staticnet.compiler.ir import Builder, Graph, Node, Shape, Type, building
from staticnet.compiler.ops.base import Pointwise
from staticnet.compiler.ops.fused import Fused
from staticnet.compiler.ops.leaf import Constant, Item, item, make_input
from staticnet.compiler.ops.reduce import Reduction
from staticnet.compiler.ops.shape import Broadcast
from staticnet.compiler.target import Target

#: pointwise ops that cost no more than a load: computed anew for every element that needs them
_CHEAP = frozenset(
    ("add", "subtract", "multiply", "negative", "absolute", "square", "maximum", "minimum", "relu", "clip", "broadcast")
    + ("masked", "where", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "isnan", "isinf")
    + ("logical_and", "logical_or", "logical_xor", "logical_not")
)
#: anchors whose time goes into arithmetic, so that what follows them is free
_PRODUCTS = frozenset({"conv2d", "conv2d_input_grad", "matmul"})

#: how many nodes below are looked at for one
_NEAR = 16


def cluster(graph: Graph, target: Target) -> list[Group]:
    """Every computed node in exactly one group, groups and members each after what they read."""
    clusters = _Clusters(graph, target)
    clusters.grow()
    clusters.merge()
    return clusters.ordered()


class _Cluster:
    """Nodes that will run as one step, last first, and the shape over which they iterate."""

    def __init__(self, node: Node):
        self.nodes = [node]
        self.space: Shape | None = None
        self.axes: tuple[int, ...] | None = None
        self.anchor: Node | None = None
        self.is_row = False
        if not isinstance(node.type, Type):
            return
        if isinstance(node.op, (Pointwise, Broadcast)):
            self.space = node.type.shape if has_meaning(node.op) else None
        elif isinstance(node.op, Reduction):
            self.space, self.axes = node.inputs[0].aval.shape, node.op.axes

    def is_wide(self, node: Node) -> bool:
        return self.space is not None and dims.same_shape(node.aval.shape, self.space)


class _Clusters:
    def __init__(self, graph: Graph, target: Target):
        self.graph, self.target = graph, target
        self.roots = set(graph.roots)
        self.index = {node: number for number, node in enumerate(graph.nodes)}
        self.home: dict[Node, _Cluster] = {}
        self.all: dict[_Cluster, None] = {}
        #: of clusters that were merged: their last node, negated, and their first; in order
        self.spans: list[tuple[int, int]] = []

    # -- upwards from the last users ------------------------------------------------------------

    def grow(self) -> None:
        for node in reversed(self.graph.nodes):
            if node.op.name == "input":
                continue
            home = self._first_home(node)
            if home is None or len(home.nodes) >= self.target.fusion_limit or not self._joins(node, home):
                home = _Cluster(node)
                self.all[home] = None
            else:
                home.nodes.append(node)
            self.home[node] = home

    def _first_home(self, node: Node) -> _Cluster | None:
        """The cluster of a node's users, or of the first of them if all others come after that whole cluster."""
        users = self.graph.users[node]
        if not users or not isinstance(node.type, Type):
            return None
        home = self.home[min(users, key=self.index.__getitem__)]
        if home.space is None:
            return None
        others = [user for user in users if self.home[user] is not home]
        last = self.index[home.nodes[0]]
        if others and (not isinstance(node.op, (Pointwise, Broadcast)) or any(self.index[u] < last for u in others)):
            return None
        return home

    def _is_needed_elsewhere(self, node: Node, home: _Cluster) -> bool:
        return node in self.roots or any(self.home[user] is not home for user in self.graph.users[node])

    def _joins(self, node: Node, home: _Cluster) -> bool:
        """Whether a node whose users are all in `home` can be computed there; makes room for it if so."""
        if home.anchor is not None and home.anchor in self.graph.users[node]:
            return False
        if isinstance(node.op, (Pointwise, Broadcast)):
            return self._pointwise_joins(node, home)
        if isinstance(node.op, Reduction):
            return self._reduction_joins(node, home)
        if node.op.name not in self.target.anchors or self._is_needed_elsewhere(node, home):
            return False
        if home.anchor is not None or home.axes is not None or not home.is_wide(node):
            return False
        home.anchor = node
        return True

    def _pointwise_joins(self, node: Node, home: _Cluster) -> bool:
        shape = node.aval.shape
        assert home.space is not None
        if not has_meaning(node.op):
            return False
        is_reducing = home.axes is not None and self._is_needed_elsewhere(node, home)
        if (home.anchor is not None or is_reducing) and any(self._could_head(source, node) for source in node.inputs):
            return False
        if home.is_wide(node):
            return True
        if self._is_needed_elsewhere(node, home) or not broadcasts(shape, home.space):
            return False
        return _is_prefix(shape, home.space) or node.op.name in _CHEAP or _is_one(shape)

    def _could_head(self, source: Node, node: Node) -> bool:
        """Whether a product, directly or through pointwise nodes of its own, could head a cluster of `node` instead.

        Of a sum of products each then adds its own, and what is done to a product costs no pass over memory.
        """
        stack = [(source, node)]
        for _ in range(_NEAR):
            if not stack:
                break
            below, user = stack.pop()
            if below in self.roots or self.graph.users[below] != [user]:
                continue
            if below.op.name in _PRODUCTS and below.op.name in self.target.anchors:
                return True
            if isinstance(below.op, Pointwise):
                stack += [(operand, below) for operand in below.inputs]
        return False

    def _reduction_joins(self, node: Node, home: _Cluster) -> bool:
        assert isinstance(node.op, Reduction) and home.space is not None
        operand = node.inputs[0].aval.shape
        if home.anchor is not None or not node.op.keepdims:
            return False
        if home.axes is None and all(dims.same_shape(n.aval.shape, node.aval.shape) for n in home.nodes):
            home.space, home.axes = operand, node.op.axes
            return True
        if not dims.same_shape(operand, home.space) or home.axes not in (None, node.op.axes):
            return False
        if self._is_read_widely(node, home):
            trailing = tuple(range(len(operand) - len(node.op.axes), len(operand)))
            if node.op.axes != trailing:
                return False
            home.is_row = True
        home.axes = node.op.axes
        return True

    def _is_read_widely(self, node: Node, home: _Cluster) -> bool:
        """Whether a value over the whole space is computed from a reduced one."""
        stack, seen = [node], {node}
        while stack:
            for user in self.graph.users[stack.pop()]:
                if user in seen or self.home.get(user) is not home:
                    continue
                if home.is_wide(user) or isinstance(user.op, Reduction):
                    return True
                seen.add(user)
                stack.append(user)
        return False

    # -- reductions join what makes their operands ------------------------------------------------

    def merge(self) -> None:
        for later in sorted(self.all, key=lambda c: self.index[c.nodes[-1]]):
            if later.axes is None or later.is_row or later.anchor is not None:
                continue
            for earlier in self._neighbours(later):
                if self._may_merge(earlier, later):
                    earlier.nodes = sorted([*earlier.nodes, *later.nodes], key=self.index.__getitem__, reverse=True)
                    earlier.axes = later.axes
                    insort(self.spans, (-self.index[earlier.nodes[0]], self.index[earlier.nodes[-1]]))
                    for node in later.nodes:
                        self.home[node] = earlier
                    del self.all[later]
                    break

    def _neighbours(self, later: _Cluster) -> list[_Cluster]:
        """Clusters that make, or also reduce, a value over the whole space that `later` reads."""
        found: dict[_Cluster, None] = {}
        for source in self._outside(later.nodes):
            if isinstance(source.type, Type) and later.is_wide(source):
                if source in self.home:
                    found[self.home[source]] = None
                found.update(dict.fromkeys(self.home[user] for user in self.graph.users[source]))
        found.pop(later, None)
        return sorted(found, key=lambda c: self.index[c.nodes[-1]])

    def _may_merge(self, earlier: _Cluster, later: _Cluster) -> bool:
        if earlier.space is None or later.space is None or not dims.same_shape(earlier.space, later.space):
            return False
        if earlier.anchor is not None or earlier.is_row or earlier.axes not in (None, later.axes):
            return False
        if earlier.axes is not None and any(self._is_read_widely(n, earlier) for n in earlier.nodes if _reduces(n)):
            return False
        if len(earlier.nodes) + len(later.nodes) > self.target.fusion_limit:
            return False
        # What is older than all of `earlier` cannot depend on it, so no path leaves it and comes back; but for
        # paths through clusters of which a part is older and another is not.
        first, members = min(self.index[node] for node in earlier.nodes), set(earlier.nodes)
        wide_reads = [n for n in self._outside(later.nodes) if n in members and not earlier.is_wide(n)]
        is_older = all(source in members or self.index[source] < first for source in self._outside(later.nodes))
        if wide_reads or not is_older or later in self._reads(earlier):
            return False
        return not self._has_way_round(earlier, later) and not self._has_way_round(later, earlier)

    def _has_way_round(self, start: _Cluster, end: _Cluster) -> bool:
        """Whether `end` needs `start` through a cluster between them."""
        oldest = self.index[start.nodes[-1]]
        for last, first in self.spans:
            if -last > oldest:
                oldest = min(oldest, first)
        # Now no cluster that ends before `oldest` needs anything after it.
        stack = [cluster for cluster in self._reads(end) if cluster is not start]
        seen = set(stack)
        while stack:
            for cluster in self._reads(stack.pop()):
                if cluster is start:
                    return True
                if cluster not in seen and self.index[cluster.nodes[0]] > oldest:
                    seen.add(cluster)
                    stack.append(cluster)
        return False

    def _reads(self, cluster: _Cluster) -> list[_Cluster]:
        """The clusters that another one reads."""
        return list(dict.fromkeys(self.home[node] for node in self._outside(cluster.nodes) if node in self.home))

    def _outside(self, nodes: Iterable[Node]) -> list[Node]:
        inside = set(nodes)
        return list(dict.fromkeys(s for node in nodes for s in node.inputs if s not in inside))

    def ordered(self) -> list[Group]:
        """The clusters in an order in which each comes after what it reads."""
        reads = {c: self._reads(c) for c in self.all}
        done: dict[_Cluster, None] = {}
        for start in sorted(self.all, key=lambda c: self.index[c.nodes[0]]):
            stack = [start]
            while stack:
                current = stack[-1]
                missing = [c for c in reads[current] if c not in done and c is not current]
                if len(stack) > len(self.all) ** 2:
                    raise CompilerError(f"fusion made a circle through {current.nodes[0].op}")
                if current in done:
                    stack.pop()
                elif missing:
                    stack.extend(sorted(missing, key=lambda c: self.index[c.nodes[0]], reverse=True))
                else:
                    done[stack.pop()] = None
        return [tuple(sorted(c.nodes, key=self.index.__getitem__)) for c in done]


def _reduces(node: Node) -> bool:
    return isinstance(node.op, Reduction)


def _is_one(shape: Shape) -> bool:
    return all(dims.same(size, 1) for size in shape)


def _is_prefix(shape: Shape, space: Shape) -> bool:
    """Whether a value has one element for each line of the space: its first sizes, then ones."""
    if len(shape) != len(space):
        return False
    length = next((i for i, (own, full) in enumerate(zip(shape, space, strict=True)) if not dims.same(own, full)), None)
    return length is not None and length > 0 and _is_one(shape[length:])


# -- the graph with one node a group ---------------------------------------------------------------


def with_fused_nodes(graph: Graph, groups: Sequence[Group]) -> Graph:
    """The graph in which each group of several nodes is one Fused node."""
    builder = Builder()
    new: dict[Node, Node] = {node: node for node in graph.inputs}
    users, roots = graph.users, set(graph.roots)
    with building(builder):
        for group in groups:
            # The first place stands for the group: that of a node that may fail, if there is one.
            ordered = sorted(group, key=lambda node: not node.can_fail)
            places = [place for node in ordered for place in graph.origins.get(node, ())]
            builder.origin = tuple(dict.fromkeys(places))
            if len(group) == 1:
                (node,) = group
                new[node] = _again(builder, node, [new[source] for source in node.inputs])
                continue
            members = set(group)
            results = [n for n in group if n in roots or any(user not in members for user in users[n])]
            body, operands = _closed(group, results)
            fused = builder.make(Fused(body=body), tuple(new[operand] for operand in operands))
            for number, node in enumerate(results):
                new[node] = fused if len(results) == 1 else item(fused, number)
        for node, name in graph.names.items():
            builder.names.setdefault(new.get(node, node), name)
    return Graph(
        graph.inputs,
        [new[node] for node in graph.outputs],
        output_names=graph.output_names,
        updates={state: new[value] for state, value in graph.updates.items()},
        names=builder.names,
        origins={**graph.origins, **builder.origins},
        name=graph.name,
    )


def _again(builder: Builder, node: Node, inputs: list[Node]) -> Node:
    if isinstance(node.op, Item):
        return item(inputs[0], node.op.index)
    return builder.make(node.op, tuple(inputs), node.type)


def _closed(group: Group, results: Sequence[Node]) -> tuple[Graph, list[Node]]:
    """The body of a group, and what its inputs stand for; numbers known now become part of it, but for an anchor's."""
    inside: dict[Node, Node] = {}
    operands: list[Node] = []
    anchored = {source for node in group if not isinstance(node.op, (Pointwise, Broadcast)) for source in node.inputs}
    with building(Builder()) as builder:
        for node in group:
            for source in node.inputs:
                if source in inside:
                    continue
                if isinstance(source.op, Constant) and source.op.value.size == 1 and source not in anchored:
                    inside[source] = builder.make(source.op, (), source.type)
                else:
                    inside[source] = make_input(f"x{len(operands)}", source.aval)
                    operands.append(source)
            inside[node] = builder.make(node.op, tuple(inside[source] for source in node.inputs), node.type)
    inputs = [inside[operand] for operand in operands]
    return Graph(inputs, [inside[node] for node in results], name="fused"), operands


__all__ = ["cluster", "with_fused_nodes"]
