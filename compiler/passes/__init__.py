"""The graph passes, in the order they run: each a function from Graph to Graph.

`STATICNET_SKIP=name,name` leaves passes out, `STATICNET_VERIFY=1` checks the graph after each.
"""

from __future__ import annotations

from collections.abc import Callable

from staticnet.compiler.ir import Graph
from staticnet.compiler.passes.cse import cse
from staticnet.compiler.passes.eliminate import eliminate
from staticnet.compiler.passes.fold import fold
from staticnet.compiler.passes.simplify import accelerate, simplify
from staticnet.compiler.passes.stabilise import stabilise

Pass = Callable[[Graph], Graph]

#: before composites are expanded
PASSES: tuple[Pass, ...] = (stabilise, eliminate, fold, simplify, accelerate, cse)
#: after composites are expanded
LOWERED_PASSES: tuple[Pass, ...] = (eliminate, fold, simplify, accelerate, cse)
