"""All loop descriptions, imported for what they register."""

from staticnet.compiler.codegen.loops import (
    convolution,
    convolution_input,
    convolution_weight,
    filling,
    fused,
    gathering,
    movement,
    pooling,
    pooling_gradients,
    positions,
    products,
    random_numbers,
    scattering,
)

__all__ = [
    "convolution",
    "convolution_input",
    "convolution_weight",
    "filling",
    "fused",
    "gathering",
    "movement",
    "pooling",
    "pooling_gradients",
    "positions",
    "products",
    "random_numbers",
    "scattering",
]
