"""The gradient of a convolution to its input as a loop description: a sum of the same kind over the output's gradient.

With a stride s, pixels fall into s * s phases by their remainders: those of one phase receive through the
same elements of the kernel, from neighbouring windows.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticnet.compiler.codegen.loops.convolution_core import Core
from staticnet.compiler.codegen.loops.convolution_parts import gradient_axes, is_depthwise
from staticnet.compiler.codegen.loops.convolution_piece import Phase
from staticnet.compiler.codegen.loops.depthwise import depthwise_input_gradient
from staticnet.compiler.codegen.loops.describe import Finish, anchors
from staticnet.compiler.codegen.loops.form import Affine, Index, Routine, View, affine
from staticnet.compiler.codegen.machine import Machine
from staticnet.compiler.ops.conv import Conv2dInputGrad


@anchors(Conv2dInputGrad)
def input_gradient(
    op: Conv2dInputGrad, inputs: Sequence[View], result: View, finish: Finish, machine: Machine
) -> Routine | None:
    """The gradient to x of conv(x, w): g (N, O, OH, OW) and w (O, C / groups, kh, kw), result (N, C, H, W)."""
    g, w = inputs
    if 0 in result.shape:
        return Routine()
    heights, widths = (
        gradient_axes(result.shape[axis], w.shape[axis], op.stride[axis - 2], op.padding[axis - 2][0],
                      op.dilation[axis - 2])
        for axis in (2, 3)
    )  # fmt: skip
    phases = [Phase(height, width) for height in heights for width in widths]
    if is_depthwise(op.groups, result.shape[1]):
        return depthwise_input_gradient(g, w, result, phases, finish, machine)
    channels = g.shape[1] // op.groups

    def weight(group: Index, channel: Index, output: Index, row: Index, column: Index) -> Affine:
        return w.at(affine(group) * channels + channel, output, row, column)

    return Core("input_gradient", g, result, w, weight, phases, op.groups, finish, machine).routine()
