"""Rules and the driver that applies them: a rule is its equation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import CodeType
from typing import Any

from staticnet.compiler.errors import CompilerError
from staticnet.compiler.ir import FUNCTIONS, Graph, Node, current_builder
from staticnet.compiler.rewrite import pattern as patterns
from staticnet.compiler.rewrite.pattern import Bindings, Call, Pattern


@dataclass(frozen=True)
class Rule:
    """`left = right`: a node that matches `left` may be replaced by `right`, where `where` holds.

    `right` is an expression over the names of `left`, the op functions and the rule set's helpers.
    `example` gives attribute values for the automatic test.
    """

    equation: str
    left: Pattern
    right: CodeType
    where: CodeType | None
    helpers: Mapping[str, Callable]
    example: Mapping[str, Any]

    @property
    def root(self) -> str:
        """The name of the op card that the left side begins with."""
        assert isinstance(self.left, Call)
        return self.left.name

    def apply(self, node: Node) -> Node | None:
        """What replaces `node`, or None when the rule does not match, does not hold or would change the type."""
        bindings = patterns.match(self.left, node)
        if bindings is None or not self.holds(bindings):
            return None
        result = eval(self.right, self._namespace, bindings)
        return result if result is not node and result.type == node.type else None

    def holds(self, bindings: Bindings) -> bool:
        return self.where is None or bool(eval(self.where, self._namespace, bindings))

    @cached_property
    def _namespace(self) -> dict[str, Any]:
        return {"__builtins__": {}, **FUNCTIONS, **self.helpers}


@dataclass
class RuleSet:
    """Rules of one kind, looked up by the op their left side begins with."""

    name: str
    helpers: dict[str, Callable] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)

    def rule(self, equation: str, where: str | None = None, **example: Any) -> Rule:
        """Add the rule that an equation `left = right` states."""
        left, separator, right = equation.partition(" = ")
        if not separator:
            raise CompilerError(f"a rewrite rule is an equation `left = right`, not {equation!r}")
        made = Rule(
            equation=equation,
            left=patterns.parse(left),
            right=compile(right.strip(), f"<rule {equation}>", "eval"),
            where=None if where is None else compile(where, f"<condition of {equation}>", "eval"),
            helpers=self.helpers,
            example=example,
        )
        self.rules.append(made)
        return made

    def helper(self, function: Callable) -> Callable:
        """Make a function callable in this set's right sides and conditions."""
        self.helpers[function.__name__] = function
        return function


def rewrite(graph: Graph, *rule_sets: RuleSet, limit: int = 20) -> Graph:
    """Apply the rules everywhere until none matches any more, at most `limit` sweeps."""
    by_root: dict[str, list[Rule]] = {}
    for rule_set in rule_sets:
        for rule in rule_set.rules:
            by_root.setdefault(rule.root, []).append(rule)
    candidates: dict[tuple[str, ...], list[Rule]] = {}  # by the names of an op and of those it reads

    def rules_for(node: Node, inputs: tuple[Node, ...]) -> list[Rule]:
        names = (node.op.name, *[source.op.name for source in inputs])
        if names not in candidates:
            candidates[names] = [rule for rule in by_root.get(names[0], ()) if patterns.may_match(rule.left, names[1:])]
        return candidates[names]

    for _ in range(limit):
        changed = False

        def visit(node: Node, inputs: tuple[Node, ...]) -> Node | None:
            nonlocal changed
            rules = rules_for(node, inputs)
            if not rules:
                return None
            current = current_builder().make(node.op, inputs, node.type) if inputs != node.inputs else node
            for rule in rules:
                result = rule.apply(current)
                if result is not None:
                    changed = True
                    return result
            return None if current is node else current

        graph = graph.rebuild(visit)
        if not changed:
            return graph
    return graph


def all_rules(rule_sets: Iterable[RuleSet]) -> list[tuple[str, Rule]]:
    """Every rule with the name of its set: what the tests walk."""
    return [(rule_set.name, rule) for rule_set in rule_sets for rule in rule_set.rules]
