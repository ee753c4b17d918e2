"""The loop description of convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from staticnet.compiler.codegen.loops.convolution_core import Core
from staticnet.compiler.codegen.loops.convolution_parts import forward_axis, is_depthwise
from staticnet.compiler.codegen.loops.convolution_piece import Phase
from staticnet.compiler.codegen.loops.depthwise import depthwise_convolution
from staticnet.compiler.codegen.loops.describe import Finish, anchors
from staticnet.compiler.codegen.loops.form import Affine, Index, Routine, View, affine
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.ops.conv import Conv2d


@anchors(Conv2d)
def convolution(op: Conv2d, inputs: Sequence[View], result: View, finish: Finish, machine: Machine) -> Routine | None:
    """conv(x, w): x (N, C, H, W) and w (O, C / groups, kh, kw), result (N, O, OH, OW)."""
    x, w = inputs
    if 0 in result.shape:
        return Routine()
    axes = [
        forward_axis(result.shape[axis], w.shape[axis], op.stride[axis - 2], op.padding[axis - 2][0],
                     op.dilation[axis - 2])
        for axis in (2, 3)
    ]  # fmt: skip
    phases = [Phase(axes[0], axes[1])]
    if is_depthwise(op.groups, x.shape[1]):
        return depthwise_convolution(x, w, result, phases, finish, machine)
    outputs = result.shape[1] // op.groups

    def weight(group: Index, channel: Index, output: Index, row: Index, column: Index) -> Affine:
        return w.at(affine(group) * outputs + output, channel, row, column)

    return Core("convolution", x, result, w, weight, phases, op.groups, finish, machine).routine()
