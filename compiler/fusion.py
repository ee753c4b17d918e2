"""Fusion: groups of elementwise, broadcast and reduce nodes that run as one step.

A node joins the group of its only users when nothing else needs its value, so that a group has one
result and no path leaves it and comes back. All members work on one iteration space: the shape of the
widest member, to which every other's broadcasts.
"""

from __future__ import annotations

from staticnet.compiler import dims
from staticnet.compiler.ir import Graph, Node, Shape, Type
from staticnet.compiler.ops.base import Pointwise
from staticnet.compiler.ops.reduce import Reduction
from staticnet.compiler.ops.shape import Broadcast
from staticnet.compiler.target import Target

Group = tuple[Node, ...]


def fuse(graph: Graph, target: Target) -> list[Group]:
    """Every computed node in exactly one group, groups and members each after what they read."""
    roots = set(graph.roots)
    group_of: dict[Node, int] = {}
    members: list[list[Node]] = []
    spaces: list[Shape | None] = []
    for node in reversed(graph.nodes):
        if node.op.name == "input":
            continue
        space = iteration_space(node)
        home = _only_home(graph.users[node], group_of) if space is not None and node not in roots else None
        if home is not None and len(members[home]) < target.fusion_limit:
            joint = _joint_space(spaces[home], space)
            if joint is not None:
                group_of[node] = home
                members[home].append(node)
                spaces[home] = joint
                continue
        group_of[node] = len(members)
        members.append([node])
        spaces.append(space)
    return [tuple(reversed(group)) for group in reversed(members)]


def iteration_space(node: Node) -> Shape | None:
    """The shape over which a fusable node iterates: its result's, or a reduction's operand's. None: not fusable."""
    if not isinstance(node.type, Type):
        return None
    if isinstance(node.op, (Pointwise, Broadcast)):
        return node.type.shape
    if isinstance(node.op, Reduction):
        return node.inputs[0].aval.shape
    return None


def _only_home(users: list[Node], group_of: dict[Node, int]) -> int | None:
    homes = {group_of[user] for user in users}
    return homes.pop() if len(homes) == 1 else None


def _joint_space(a: Shape | None, b: Shape | None) -> Shape | None:
    """The wider of two iteration spaces when the other broadcasts to it."""
    if a is None or b is None:
        return None
    if broadcasts(b, a):
        return a
    return b if broadcasts(a, b) else None


def broadcasts(narrow: Shape, wide: Shape) -> bool:
    """Whether a shape surely broadcasts to another as it is."""
    if len(narrow) > len(wide):
        return False
    pairs = zip(reversed(narrow), reversed(wide), strict=False)
    return all(dims.same(n, w) or dims.same(n, 1) for n, w in pairs)
