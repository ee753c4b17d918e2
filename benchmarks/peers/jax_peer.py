"""JAX under jit: steps as pure functions whose weights are donated, so that they are renewed in place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from benchmarks import workloads
from benchmarks.peers import Made, Side, Start
from benchmarks.peers.jax_models import MODELS, from_rows, is_trained, to_rows
from benchmarks.workloads import ADAM_RATE, Network, Workload

PACKAGE = "jax"
NAME, ROWS = "JAX", "JAX channels_last"
Tree = dict[str, Any]


def prepare(threads: int) -> None:
    """Calls without a thread of their own, which is faster here, since each is waited for.

    XLA's threads follow from the environment and from the processors that this process may use.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def sides(workload: Workload, start: Start, quick: bool) -> Made:
    """One jitted function; images with channels last as well, the layout that JAX's own libraries take."""
    if workload.kind == "stream":
        return {NAME: lambda: _adam_stream(start) if workload.subject == "adam" else _stream(workload, start)}
    if workload.kind == "function":
        return {NAME: lambda: _function(workload)}
    make = {"train": train, "infer": infer}[workload.kind]
    made: Made = {NAME: partial(make, workload, start)}
    is_image = len(workload.network.sample) == 3
    return made | {ROWS: partial(make, workload, start, channels_last=True)} if is_image else made


def train(workload: Workload, start: Start, channels_last: bool = False) -> Side:
    """Forward, loss, backward and update; the loss as a float."""
    network, model = workload.network, MODELS[workload.subject]
    held = to_rows(workload.subject, start) if channels_last else start
    weights = {name: jnp.array(value) for name, value in held.items() if is_trained(name)}
    statistics = {name: jnp.array(value) for name, value in held.items() if "running" in name}
    slots = _slots(network, weights)

    def loss_of(weights: Tree, statistics: Tree, inputs: Any, targets: Any) -> tuple[Any, Tree]:
        output, moved = model({**weights, **statistics}, inputs, channels_last=channels_last, training=True)
        return _loss(network, output, targets), moved

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(weights: Tree, statistics: Tree, slots: Tree, inputs: Any, targets: Any) -> tuple[Any, ...]:
        slope = jax.value_and_grad(loss_of, has_aux=True)
        (loss, moved), gradients = slope(weights, statistics, inputs, targets)
        weights, slots = _update(network, weights, gradients, slots)
        return loss, weights, moved, slots

    held_now = [weights, statistics, slots]

    def call(inputs: Any, targets: Any) -> float:
        loss, *held_now[:] = step(*held_now, inputs, targets)
        # The loss may be there before the weights are.
        jax.block_until_ready(held_now)
        return float(loss)

    def states() -> dict[str, np.ndarray]:
        found = {name: np.asarray(value) for tree in held_now[:2] for name, value in tree.items()}
        return from_rows(workload.subject, found) if channels_last else found

    return Side(call, _batches(workload, channels_last), states)


def infer(workload: Workload, start: Start, channels_last: bool = False) -> Side:
    """The forward pass with running statistics."""
    held = to_rows(workload.subject, start) if channels_last else start
    weights = {name: jnp.array(value) for name, value in held.items() if value.dtype == np.float32}
    model = MODELS[workload.subject]
    forward = jax.jit(lambda weights, inputs: model(weights, inputs, channels_last=channels_last, training=False)[0])
    return Side(lambda inputs: forward(weights, inputs).block_until_ready(), _batches(workload, channels_last))


def _loss(network: Network, output: Any, targets: Any) -> Any:
    if not network.classes:
        return jnp.mean((output - targets) ** 2)
    chances = jax.nn.log_softmax(output)
    return -jnp.mean(jnp.take_along_axis(chances, targets[:, None], axis=1))


def _slots(network: Network, weights: Tree) -> Tree:
    """What the optimiser keeps, zeros at first."""
    names = {"Adam": ("mean", "square"), "SGD": ("momentum",) if network.momentum else ()}[network.optimizer]
    slots: Tree = {name: jax.tree.map(jnp.zeros_like, weights) for name in names}
    return slots | {"step": jnp.zeros((), jnp.int32)} if network.optimizer == "Adam" else slots


def _update(network: Network, weights: Tree, gradients: Tree, slots: Tree) -> tuple[Tree, Tree]:
    if network.optimizer == "Adam":
        return _adam(weights, gradients, slots, network.lr)
    if network.momentum:
        gradients = jax.tree.map(lambda v, g: network.momentum * v + g, slots["momentum"], gradients)
        slots = {"momentum": gradients}
    return jax.tree.map(lambda p, g: p - network.lr * g, weights, gradients), slots


def _adam(weights: Tree, gradients: Tree, slots: Tree, lr: float) -> tuple[Tree, Tree]:
    """Kingma and Ba 2015, with both corrections in the rate."""
    step = slots["step"] + 1
    count = step.astype(jnp.float32)
    # 1 - 0.999 ** step by way of expm1: in float32 the difference itself loses half its digits.
    root = jnp.sqrt(-jnp.expm1(count * np.float32(np.log(0.999))))
    rate = lr * root / -jnp.expm1(count * np.float32(np.log(0.9)))
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, slots["mean"], gradients)
    square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, slots["square"], gradients)
    moved = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8 * root), weights, mean, square)
    return moved, {"mean": mean, "square": square, "step": step}


def _batches(workload: Workload, channels_last: bool) -> list[tuple[Any, ...]]:
    def placed(array: np.ndarray) -> Any:
        return jnp.array(np.moveaxis(array, 1, -1) if channels_last and array.ndim == 4 else array)

    return [tuple(map(placed, batch)) for batch in workloads.batches(workload)]


# ---- functions of one array


def _function(workload: Workload) -> Side:
    function = jax.jit(FUNCTIONS[workload.subject])
    return Side(lambda x: function(x).block_until_ready(), _batches(workload, False))


def _stream(workload: Workload, start: Start) -> Side:
    """The old result is donated, so that the new one may take its place."""
    x, held = jnp.array(start["x"]), [jnp.array(start["y"])]
    function = FUNCTIONS[workload.subject]
    jitted = jax.jit(lambda x, y: function(x), donate_argnums=1, keep_unused=True)

    def call() -> None:
        held[0] = jitted(x, held[0]).block_until_ready()

    return Side(call, [()], lambda: {"y": np.asarray(held[0])})


def _adam_stream(start: Start) -> Side:
    gradients = {"p": jnp.array(start["x"])}
    held = [{"p": jnp.array(start["p"])}, {"mean": {"p": jnp.array(start["exp_avg"])}}]
    held[1] |= {"square": {"p": jnp.array(start["exp_avg_sq"])}, "step": jnp.zeros((), jnp.int32)}
    update = jax.jit(partial(_adam, lr=ADAM_RATE), donate_argnums=(0, 2))

    def call() -> None:
        held[:] = jax.block_until_ready(update(held[0], gradients, held[1]))

    return Side(call, [()], lambda: {"p": np.asarray(held[0]["p"])})


def _layer_norm(x: Any) -> Any:
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.var(x, axis=-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "softmax": jax.nn.softmax,
    "layer_norm": _layer_norm,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "tanh": jnp.tanh,
}
