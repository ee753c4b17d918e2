"""The training step: forward, loss, backward and update as one compiled call."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticnet import trees
from staticnet.boundary import boundary
from staticnet.compiled import CompiledFunction, CompiledGraph
from staticnet.compiler.errors import ArgumentError, FeedError, GradientError
from staticnet.compiler.ir import Graph, Node, topological
from staticnet.functional import unwrap
from staticnet.gradients import grad
from staticnet.tensors import Tensor, TensorSpec
from staticnet.tracer import current_tracer
from staticnet.tracing import argument_names


class TrainStep(CompiledFunction):
    """One step of training as one program: `step(inputs..., target)` updates the states and returns the loss.

    The last array of a call is the target, those before it go to the model. The first call decides
    ranks and dtypes; a later call of others is an error, a batch of another size only a new program.
    """

    def __init__(
        self,
        model: Any,
        loss: Any,
        optimizer: Any,
        specs: tuple[Any, ...] = (),
        *,
        device: str | None = None,
        outputs: bool = False,
        memory_budget: Any = None,
    ):
        self.model, self.loss, self.optimizer, self.outputs = model, loss, optimizer, outputs
        self._loss_node: Node | None = None
        self._gradient_nodes: tuple[Node, ...] = ()
        name = f"{type(model).__name__}.train_step"
        super().__init__(self._step, specs, device=device, name=name, memory_budget=memory_budget)

    def _step(self, *batch: Any) -> Any:
        if len(batch) < 2:
            raise ArgumentError(f"a training step takes inputs and a target; given is {len(batch)} array")
        *inputs, target = batch
        with training(self.model):
            output = self.model(*inputs)
            loss = self.loss(output, target)
        if not isinstance(loss, Tensor) or loss.ndim:
            raise GradientError(f"the loss must be a scalar tensor, not {loss!r:.60}; reduce it with .mean() or .sum()")
        loss.name = loss.name or "loss"
        parameters = [parameter for parameter in self.optimizer.parameters if parameter.requires_grad]
        if not parameters:
            raise ArgumentError("the optimizer has no parameters to train: all are frozen, or the list was empty")
        tracer = current_tracer()
        self._loss_node = unwrap(loss, tracer)
        self._check_used(parameters)
        slopes = grad(loss, parameters)
        self._gradient_nodes = tuple(unwrap(slope, tracer) for slope in slopes)
        self.optimizer.update(parameters, slopes)
        return {"loss": loss, "output": output} if self.outputs else loss

    def _check_used(self, parameters: list[Any]) -> None:
        """Raise GradientError, naming all, for parameters that are not the model's or that the loss does not need."""
        name = type(self.model).__name__
        owners = [owner for owner in (self.model, self.loss) if hasattr(owner, "parameters")]
        own = {id(parameter) for owner in owners for parameter in owner.parameters()}
        foreign = [parameter for parameter in parameters if id(parameter) not in own]
        if hasattr(self.model, "parameters") and foreign:
            raise GradientError(
                f"the optimizer trains {len(foreign)} parameters that {name} does not have, one of shape "
                f"{foreign[0].shape}: make it of the parameters of this very model, after the last of them is assigned"
            )
        assert self._loss_node is not None
        used = set(topological([self._loss_node]))
        tracer = current_tracer()
        idle = [parameter for parameter in parameters if unwrap(parameter, tracer) not in used]
        if idle:
            names = ", ".join(str(parameter.name) for parameter in idle)
            raise GradientError(
                f"the loss of {name} does not depend on {names}: use them in the model, freeze them with "
                "`model.freeze(name)`, or leave them out of the optimizer"
            )

    def _graph_for(self, args: tuple[Any, ...], kinds: Any) -> CompiledGraph:
        empty = next((leaf for leaf in trees.leaves(args) if getattr(leaf, "shape", ())[:1] == (0,)), None)
        if empty is not None:
            raise FeedError(
                f"{self.name} is given a batch without examples, {empty.dtype} of shape {empty.shape}: its mean loss "
                "and every weight after it would be NaN; leave it out"
            )
        return super()._graph_for(args, kinds)

    def _signature(self, args: tuple[Any, ...], kinds: Any) -> Any:
        """Which parameters are frozen; arrays of another kind are an error."""
        return tuple([parameter.requires_grad for parameter in self.optimizer.parameters])

    def _is_current(self, graph: CompiledGraph) -> bool:
        """Modes are set by the trace itself."""
        return not graph.is_outdated

    def _trace(self, specs: tuple[Any, ...]) -> CompiledGraph:
        """Trace with inputs called as the model's own arguments, and the last one `target`, unless they have names."""
        labels = [*argument_names(self.model, max(len(specs) - 1, 0)), "target"]
        named = [
            TensorSpec(spec.shape, spec.dtype, label) if isinstance(spec, TensorSpec) and not spec.name else spec
            for spec, label in zip(specs, labels, strict=False)
        ]
        return super()._trace(tuple(named))

    def graph_at(self, stage: str) -> Graph:
        graph = super().graph_at(stage)
        if stage != "forward":
            return graph
        assert self._loss_node is not None
        forward = set(topological([self._loss_node]))
        return Graph(
            [node for node in graph.inputs if node in forward],
            [self._loss_node],
            output_names=["loss"],
            names=graph.names,
            origins=graph.origins,
            name=type(self.model).__name__,
        )

    def roles(self) -> dict[Node, str]:
        graph = self.graph
        assert self._loss_node is not None
        roles = dict.fromkeys(graph.nodes, "update")
        roles.update(dict.fromkeys((n for n in topological(self._gradient_nodes) if n in roles), "backward"))
        roles.update(dict.fromkeys((n for n in topological([self._loss_node]) if n in roles), "forward"))
        return roles

    @boundary
    def evaluate(self, *batch: Any) -> np.ndarray:
        """The loss of a batch in inference mode; no state changes."""
        if not hasattr(self, "_evaluation"):
            self._evaluation = CompiledFunction(self._loss_only, device=self.device, name="evaluate")
        return self._evaluation(*batch)

    def _loss_only(self, *batch: Any) -> Any:
        *inputs, target = batch
        with training(self.model, False):
            return self.loss(self.model(*inputs), target)


class training:
    """Put a model into training (or inference) mode inside a block, each module back into its own after it."""

    def __init__(self, model: Any, mode: bool = True):
        self.model, self.mode = model, mode

    def __enter__(self) -> None:
        modules = getattr(self.model, "modules", None)
        self.before = [(module, module.training) for module in modules()] if modules else []
        if self.before:
            self.model.train(self.mode)

    def __exit__(self, *_: object) -> None:
        for module, mode in self.before:
            module.training = mode


@boundary
def compile_train_step(
    model: Any,
    loss: Any,
    optimizer: Any,
    *specs: Any,
    device: str | None = None,
    outputs: bool = False,
    memory_budget: Any = None,
) -> TrainStep:
    """A compiled training step: `step(inputs..., target)` runs forward, loss, backward and update as one program.

    `model` is a module or function, `loss` a function of (output, target) that gives a scalar,
    `optimizer` one of `staticnet.optim`. With `outputs` a call returns {"loss", "output"} instead of
    the loss alone. `specs`, `device`, `memory_budget` as for `sn.compile`.
    """
    for role, value in (("model", model), ("loss", loss)):
        if isinstance(value, type):
            raise ArgumentError(f"the {role} is the class {value.__name__}: make one of it first, `{value.__name__}()`")
    if not hasattr(optimizer, "update") or not hasattr(optimizer, "parameters"):
        raise ArgumentError(f"the third argument is an optimizer, such as sn.optim.SGD(...), not {optimizer!r:.60}")
    return TrainStep(
        model, loss, optimizer, specs, device=device, outputs=outputs, memory_budget=memory_budget
    )


__all__ = ["TrainStep", "compile_train_step", "training"]
