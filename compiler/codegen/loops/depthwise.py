"""Depthwise convolution and its input gradient as loop descriptions: vectors run over the channels of both sides.

Output o * m + j of a convolution with multiplier m sees channel o alone. In the terms of `Core`, which is told
so, the forward sum has m groups of one channel each, and the input gradient one group of m.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticnet.compiler.codegen.loops.convolution_core import Core
from staticnet.compiler.codegen.loops.convolution_piece import Phase
from staticnet.compiler.codegen.loops.describe import Finish
from staticnet.compiler.codegen.loops.form import Affine, Index, Routine, View, affine
from staticnet.compiler.codegen.machine import Machine


def depthwise_convolution(
    x: View, w: View, result: View, phases: Sequence[Phase], finish: Finish, machine: Machine
) -> Routine:
    """conv(x, w) with as many groups as x has channels: w is (channels * m, 1, kh, kw)."""
    multiplier = w.shape[0] // x.shape[1]

    def weight(group: Index, channel: Index, output: Index, row: Index, column: Index) -> Affine:
        return w.at(affine(output) * multiplier + group, channel, row, column)

    return Core("depthwise", x, result, w, weight, phases, multiplier, finish, machine, depthwise=True).routine()


def depthwise_input_gradient(
    g: View, w: View, result: View, phases: Sequence[Phase], finish: Finish, machine: Machine
) -> Routine:
    """The gradient of that to x, from g (N, channels * m, OH, OW)."""
    multiplier = w.shape[0] // result.shape[1]

    def weight(group: Index, channel: Index, output: Index, row: Index, column: Index) -> Affine:
        return w.at(affine(output) * multiplier + channel, 0, row, column)

    return Core("depthwise_input", g, result, w, weight, phases, 1, finish, machine, depthwise=True).routine()
