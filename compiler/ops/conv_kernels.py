"""Convolution and its two gradients in NumPy: block by block, windows unrolled into columns, one matrix product.

Inside a block the images are the innermost axis: neighbouring windows then unroll in long contiguous runs
however narrow the output is, and all three kernels are the same four moves around the same product.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from staticnet.compiler.ops.windows import Pair, Tap, Windows, carve, shaped, spans, workspace_bytes

#: what the buffers of a block should fit into: the nearer caches
_BLOCK_BYTES = 4 << 20
_MOST_IMAGES = 16
#: from so many pixels on, images are worth a product of their own when that saves all copies
_MANY_PIXELS = 64


@dataclasses.dataclass(frozen=True)
class Block:
    """A range of images and a range of output rows, and the taps that lie inside the image for it."""

    images: tuple[int, int]
    rows: tuple[int, int]
    #: the input rows that the block sees, and its taps, whose pixels count from the first of them
    seen: tuple[int, int]
    taps: Sequence[Tap]


class Convolution:
    """One convolution y = conv(x, w) in numbers: its blocks, its workspace and the three kernels.

    x is (N, C, H, W), w (O, C / groups, kh, kw), y (N, O, OH, OW), all of one dtype.
    """

    def __init__(self, x: Sequence[Any], w: Sequence[Any], y: Sequence[Any], windows: Windows, groups: int, dtype: Any):
        self.windows, self.groups, self.dtype = windows, groups, dtype
        self.images, self.channels, *image = x
        self.outputs, self.height, self.width = y[1:]
        self.image: Pair = (image[0], image[1])
        self.weights = tuple(w)
        self.depth = w[1] * w[2] * w[3]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to multiply."""
        return 0 in (self.images, self.outputs, self.height, self.width, self.depth)

    def scratch_bytes(self, kind: str) -> int:
        """Bytes of workspace of one kernel: 'forward', 'input_gradient' or 'weight_gradient'."""
        return 0 if self.is_empty else workspace_bytes(self._parts(kind))

    # -- the kernels --------------------------------------------------------------------------

    def forward(self, xp: Any, x: Any, w: Any, out: Any, scratch: Any) -> None:
        if self.is_empty:
            out.fill(0)
            return
        image, columns, result, weights = carve(scratch, self._parts("forward"))
        matrix = self._weight_matrix(xp, w, weights)
        for block in self._blocks("forward"):
            unrolled = self._unroll(xp, self._pack(xp, x, block, image), block, columns)
            part = out[slice(*block.images), :, slice(*block.rows)]
            if self._is_one_image(block) and part.flags.c_contiguous:
                xp.matmul(matrix, unrolled, out=part.reshape(self.groups, -1, unrolled.shape[2]))
                continue
            y = self._result(block, result)
            xp.matmul(matrix, unrolled, out=y.reshape(self.groups, -1, unrolled.shape[2]))
            xp.copyto(part, y.transpose(3, 0, 1, 2))

    def input_gradient(self, xp: Any, g: Any, w: Any, out: Any, scratch: Any) -> None:
        out.fill(0)
        if self.is_empty:
            return
        image, columns, result, weights = carve(scratch, self._parts("input_gradient"))
        matrix = self._weight_matrix(xp, w, weights).swapaxes(1, 2)
        for block in self._blocks("input_gradient"):
            outward = self._pack_result(xp, g, block, result)
            part = out[slice(*block.images), :, slice(*block.seen)]
            if self.windows.is_pointwise and self._is_one_image(block) and part.flags.c_contiguous:
                xp.matmul(matrix, outward, out=part.reshape(self.groups, -1, outward.shape[2]))
                continue
            product = self._columns(block, columns)
            # A product over one output channel is an outer one, for which BLAS is the slower way.
            multiply = xp.multiply if self.outputs == self.groups else xp.matmul
            multiply(matrix, outward, out=product.reshape(self.groups, -1, outward.shape[2]))
            sums = part.transpose(1, 2, 3, 0)
            if not self._is_one_image(block):
                sums = self._packed(block, image)
                sums.fill(0)
            for tap in block.taps:
                target = sums[:, tap.pixels[0], tap.pixels[1]]
                xp.add(target, product[_element(tap)], out=target)
            if not self._is_one_image(block):
                self._add_images(xp, part, sums, block)

    def weight_gradient(self, xp: Any, x: Any, g: Any, out: Any, scratch: Any) -> None:
        if self.is_empty:
            out.fill(0)
            return
        image, columns, result, weights = carve(scratch, self._parts("weight_gradient"))
        total = out.reshape(self.groups, -1, self.depth)
        partial = shaped(weights, total.shape)
        for number, block in enumerate(self._blocks("weight_gradient")):
            unrolled = self._unroll(xp, self._pack(xp, x, block, image), block, columns).swapaxes(1, 2)
            outward = self._pack_result(xp, g, block, result)
            xp.matmul(outward, unrolled, out=partial if number else total)
            if number:
                xp.add(total, partial, out=total)

    # -- blocks -------------------------------------------------------------------------------

    def _steps(self, kind: str) -> Pair:
        """The most images and output rows of one block."""
        pixels = self.height * self.width
        if self.windows.is_pointwise and kind != "weight_gradient" and pixels >= _MANY_PIXELS:
            return 1, self.height
        unrolled = self.groups * self.depth + self.outputs
        each = (unrolled * pixels + self.channels * self.image[0] * self.image[1]) * self.dtype.itemsize
        images = min(_BLOCK_BYTES // each, _MOST_IMAGES, self.images)
        return (images, self.height) if images else (1, max(1, self.height * _BLOCK_BYTES // each))

    def _blocks(self, kind: str) -> Iterator[Block]:
        images, rows = self._steps(kind)
        bands = []
        for span in spans(self.height, rows):
            seen = self.windows.rows_seen(span, self.image[0])
            taps = [
                tap._replace(pixels=(_shifted(tap.pixels[0], seen[0]), tap.pixels[1]))
                for tap in self.windows.taps(self.image, span, (0, self.width))
            ]
            bands.append((span, seen, taps))
        for batch in spans(self.images, images):
            for span, seen, taps in bands:
                yield Block(batch, span, seen, taps)

    def _parts(self, kind: str) -> list[tuple[int, Any]]:
        """Room for the packed image, the unrolled windows, the packed result, and the weights."""
        images, rows = self._steps(kind)
        seen = max(stop - start for start, stop in map(self._seen, spans(self.height, rows)))
        windows = rows * self.width * images
        sizes = (
            self.channels * seen * self.image[1] * images if images > 1 else 0,
            self.groups * self.depth * windows,
            self.outputs * windows,
            self.outputs * self.depth,
        )
        return [(size, self.dtype) for size in sizes]

    def _seen(self, rows: tuple[int, int]) -> tuple[int, int]:
        return self.windows.rows_seen(rows, self.image[0])

    @staticmethod
    def _is_one_image(block: Block) -> bool:
        return block.images[1] - block.images[0] == 1

    # -- moves --------------------------------------------------------------------------------

    def _weight_matrix(self, xp: Any, w: Any, buffer: Any) -> Any:
        """(groups, outputs of one group, depth)."""
        if not w.flags.c_contiguous:
            dense = shaped(buffer, w.shape)
            xp.copyto(dense, w)
            w = dense
        return w.reshape(self.groups, -1, self.depth)

    def _packed(self, block: Block, buffer: Any) -> Any:
        rows, images = block.seen[1] - block.seen[0], block.images[1] - block.images[0]
        return shaped(buffer, (self.channels, rows, self.image[1], images))

    def _result(self, block: Block, buffer: Any) -> Any:
        rows, images = block.rows[1] - block.rows[0], block.images[1] - block.images[0]
        return shaped(buffer, (self.outputs, rows, self.width, images))

    def _columns(self, block: Block, buffer: Any) -> Any:
        rows, images = block.rows[1] - block.rows[0], block.images[1] - block.images[0]
        return shaped(buffer, (self.channels, *self.weights[2:], rows, self.width, images))

    def _pack(self, xp: Any, x: Any, block: Block, buffer: Any) -> Any:
        """The part of x that the block sees as (channels, rows, columns, images); a view of a lone image."""
        part = x[slice(*block.images), :, slice(*block.seen)].transpose(1, 2, 3, 0)
        if self._is_one_image(block):
            return part
        packed = self._packed(block, buffer)
        xp.copyto(packed, part)
        return packed

    def _pack_result(self, xp: Any, g: Any, block: Block, buffer: Any) -> Any:
        """The part of g that belongs to the block as (groups, outputs of one group, windows)."""
        part = g[slice(*block.images), :, slice(*block.rows)].transpose(1, 2, 3, 0)
        if not part.flags.c_contiguous:
            packed = self._result(block, buffer)
            xp.copyto(packed, part)
            part = packed
        return part.reshape(self.groups, self.outputs // self.groups, -1)

    def _unroll(self, xp: Any, image: Any, block: Block, buffer: Any) -> Any:
        """The windows of a packed image as (groups, depth, windows), zero where they see padding."""
        if self.windows.is_pointwise and image.flags.c_contiguous:
            return image.reshape(self.groups, self.depth, -1)
        columns = self._columns(block, buffer)
        if self.windows.padding != ((0, 0), (0, 0)):
            columns.fill(0)
        for tap in block.taps:
            xp.copyto(columns[_element(tap)], image[:, tap.pixels[0], tap.pixels[1]])
        return columns.reshape(self.groups, self.depth, -1)

    def _add_images(self, xp: Any, part: Any, sums: Any, block: Block) -> None:
        """Bring the packed sums of a block home; the rows of neighbouring blocks overlap."""
        sums = sums.transpose(3, 0, 1, 2)
        if block.rows == (0, self.height):
            xp.copyto(part, sums)
        else:
            xp.add(part, sums, out=part)


def _element(tap: Tap) -> tuple:
    """Where the columns of (channels, kh, kw, rows, columns, images) hold what a tap sees."""
    return slice(None), *tap.offset, *tap.windows


def _shifted(pixels: slice, start: int) -> slice:
    return slice(pixels.start - start, pixels.stop - start, pixels.step)

