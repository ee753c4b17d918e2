"""Optimizer: parameters, hyperparameters and slots as states, and the update as code that a training step traces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from staticnet import habits
from staticnet.boundary import boundary
from staticnet.compiler.errors import ArgumentError, HabitError, TraceError
from staticnet.nn.parameter import Buffer, Parameter
from staticnet.optim import states
from staticnet.optim.hyperparameters import hyperparameters_of
from staticnet.tensors import Tensor
from staticnet.tracer import current_tracer

Rates = dict[str, Tensor]

_STEP = (
    "the update is part of the compiled training step: write `step = sn.compile_train_step(model, loss, optimizer)` "
    "once, then `loss = step(x, y)` for each batch"
)
_GROUPS = "one optimizer has one set of hyperparameters: read and set them as `optimizer.lr`"
#: attribute of an optimizer -> what to write
OF_OPTIMIZERS = {
    "step": _STEP,
    "zero_grad": f"gradients are values of their own and never pile up, so there is nothing to set to zero; {_STEP}",
    "param_groups": _GROUPS,
    "add_param_group": _GROUPS,
    "minimize": _STEP,
    "apply_gradients": _STEP,
}


class Optimizer:
    """Base of all optimizers: gives each parameter a new value from its gradient.

    `parameters` are Parameters, as from `model.parameters()`. Hyperparameters are float64 states, since
    1 - 0.999 in float32 is wrong in the fifth digit; arithmetic on parameters is in their own dtype.
    Slots, such as momenta, are states of the parameter's shape that start at zero when a parameter is
    first trained. A subclass declares Hyperparameters, says in `slot_names` and `counts_steps` what it
    keeps, and gives `rates` and `move`. Raises ArgumentError for an empty list, for what is no
    Parameter, and for one that is given twice.
    """

    parameters: tuple[Parameter, ...]
    _hyperparameters: dict[str, Buffer]

    def __init__(self, parameters: Iterable[Parameter], values: Mapping[str, float]):
        self.parameters = _checked(parameters, type(self).__name__)
        self._positions = {id(parameter): position for position, parameter in enumerate(self.parameters)}
        self._slots: dict[str, dict[int, Buffer]] = {}
        # Parameters that were first trained together count their steps together.
        self._counts: dict[int, Buffer] = {}
        # Which hyperparameters the traced update uses; those that were 0 are left out.
        self._structure: dict[str, bool] = {}
        self._hyperparameters = {}
        for name, kind in hyperparameters_of(type(self)).items():
            self._hyperparameters[name] = buffer = Buffer(np.float64(kind.checked(values[name])))
            buffer.label(f"optimizer.{name}")

    # -- what a subclass says -----------------------------------------------------------------

    @property
    def slot_names(self) -> tuple[str, ...]:
        """The slots that each parameter has."""
        return ()

    @property
    def counts_steps(self) -> bool:
        """Whether the update depends on how many there were before."""
        return False

    def rates(self, step: Tensor | None) -> Rates:
        """What one update computes of the hyperparameters: float64 scalars.

        `step` is the number of this update, from 1, as float64; None unless `counts_steps`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define rates")

    def move(self, parameter: Parameter, gradient: Tensor, rates: Rates) -> None:
        """Assign a parameter and its slots their new values; `rates` are of the parameter's dtype."""
        raise NotImplementedError(f"{type(self).__name__} must define move")

    # -- the traced update --------------------------------------------------------------------

    @boundary
    def update(self, parameters: Sequence[Parameter], gradients: Sequence[Tensor]) -> None:
        """Assign new values to `parameters`, some of the optimizer's own, frozen ones left as they are.

        Only inside a trace, such as that of a training step; TraceError elsewhere.
        """
        if current_tracer() is None:
            raise TraceError(f"an optimizer updates parameters only inside a trace: {_STEP}")
        if len(parameters) != len(gradients):
            raise ArgumentError(f"there are {len(parameters)} parameters and {len(gradients)} gradients")
        trained = [
            (self._position(parameter), parameter, gradient)
            for parameter, gradient in zip(parameters, gradients, strict=True)
            if parameter.requires_grad
        ]
        groups: dict[Buffer | None, list[tuple[Parameter, Tensor]]] = {}
        for count, (_, parameter, gradient) in zip(self._counters([p for p, _, _ in trained]), trained, strict=True):
            groups.setdefault(count, []).append((parameter, gradient))
        for count, members in groups.items():
            self._update_together(count, members)

    def _update_together(self, count: Buffer | None, members: list[tuple[Parameter, Tensor]]) -> None:
        step = None
        if count is not None:
            count.assign(count + 1)
            step = count.astype("float64")
        rates = self.rates(step)
        by_dtype: dict[str, Rates] = {}
        for parameter, gradient in members:
            dtype = parameter.dtype.name
            if dtype not in by_dtype:
                by_dtype[dtype] = {name: rate.astype(dtype) for name, rate in rates.items()}
            self.move(parameter, gradient, by_dtype[dtype])

    def rate(self, name: str) -> Tensor:
        """A hyperparameter as the float64 scalar that the trace reads."""
        return self._hyperparameters[name]

    def uses(self, name: str) -> bool:
        """Whether a hyperparameter takes part: from the first trace on it does if it was not 0 then."""
        value = bool(getattr(self, name))
        return self._structure.get(name, value) if current_tracer() is None else self._structure.setdefault(name, value)

    def slot(self, name: str, parameter: Parameter) -> Buffer:
        """The slot of a parameter; zeros when it is new."""
        position = self._position(parameter)
        of_all = self._slots.setdefault(name, {})
        if position not in of_all:
            of_all[position] = Buffer(np.zeros(parameter.state.type.shape, parameter.dtype.numpy))  # type: ignore[arg-type]
        of_all[position].label(f"optimizer.{name}.{parameter.name or position}")
        return of_all[position]

    def _counters(self, positions: Sequence[int]) -> list[Buffer | None]:
        """The state that counts the steps of each parameter, one for all that have none yet."""
        if not self.counts_steps:
            return [None] * len(positions)
        fresh = [position for position in positions if position not in self._counts]
        if fresh:
            self._share_counter(fresh, 0)
        return [self._counts[position] for position in positions]

    def _share_counter(self, positions: Iterable[int], value: int) -> None:
        counter = Buffer(np.int64(value))
        counter.label("optimizer.step")
        self._counts.update(dict.fromkeys(positions, counter))

    def _position(self, parameter: Parameter) -> int:
        position = self._positions.get(id(parameter))
        if position is None:
            raise ArgumentError(f"{parameter._describe()} is none of the parameters that this optimizer was made with")
        return position

    # -- state dicts --------------------------------------------------------------------------

    def state_dict(self, names: Mapping[int, str] | None = None) -> dict[str, np.ndarray]:
        """Copies of hyperparameters and slots, flat: `lr`, `momentum_buffer.0` for the first parameter, ...

        Parameters go by their position in `parameters`, or by `names[position]`.
        """
        return states.collect(self, names or {})

    @boundary
    def load_state_dict(self, state_dict: Mapping[str, Any], names: Mapping[int, str] | None = None) -> None:
        """Copy in what `state_dict` gave, all or nothing; StateError names everything that does not fit."""
        states.load(self, state_dict, names or {})

    # -- attributes and text ------------------------------------------------------------------

    @boundary
    def __getattr__(self, name: str) -> NoReturn:
        habits.explain(f"{type(self).__name__}", name, OF_OPTIMIZERS)

    @boundary
    def __setattr__(self, name: str, value: Any) -> None:
        if name in OF_OPTIMIZERS:
            raise HabitError(f"`.{name} = ...` is not how it is done here: {OF_OPTIMIZERS[name]}")
        if not name.startswith("_") and not hasattr(type(self), name) and name not in _annotated(type(self)):
            known = ", ".join(hyperparameters_of(type(self)))
            raise ArgumentError(f"{type(self).__name__} has no hyperparameter {name!r}; there are {known}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name):g}" for name in self._hyperparameters)
        return f"{type(self).__name__}({len(self.parameters)} parameters, {values})"


def _annotated(kind: type) -> set[str]:
    return {name for base in kind.__mro__ for name in getattr(base, "__annotations__", {})}


def _checked(parameters: Iterable[Any], owner: str) -> tuple[Parameter, ...]:
    if isinstance(parameters, (Tensor, str)) or not isinstance(parameters, Iterable):
        raise ArgumentError(
            f"{owner} takes a list of parameters, such as `model.parameters()`, not {type(parameters).__name__}"
        )
    given = list(parameters)
    if not given:
        raise ArgumentError(f"{owner} got no parameters: the list is empty, or an iterator over it was used up before")
    positions: dict[int, int] = {}
    for position, value in enumerate(given):
        if not isinstance(value, Parameter):
            kind = type(value).__name__
            raise ArgumentError(f"{owner} takes Parameters, but number {position} is a {kind}: {value!r:.60}")
        first = positions.setdefault(id(value), position)
        if first != position:
            raise ArgumentError(
                f"{owner} got {value._describe()} twice, as numbers {first} and {position}: give each parameter once"
            )
    return tuple(given)
