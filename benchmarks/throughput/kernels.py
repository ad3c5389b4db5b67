"""The arithmetic of an update alone, as PyTorch's own kernels do it: what no loop over them beats.

No graph, no loss, no clipping, no update rule: the forward passes and gradients of the layers that
multiply, one call after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from throughput import settings
from triptych.spec import layers as spec
from triptych.spec.network import Network

Call = Callable[[], object]


class Kernels:
    """The calls that :func:`throughput.table.update_flops` counts, with S4's shapes and batch."""

    parameters = None

    def __init__(self) -> None:
        self.calls = list(calls(settings.recipe().network, settings.algorithm().batch))

    def prepare(self) -> None:
        self.run_all()

    def components(self) -> dict[str, Call]:
        return {"kernels": self.run_all}

    def run_all(self) -> None:
        """Make the calls of one update."""
        with torch.inference_mode():
            for call in self.calls:
                call()


def calls(network: Network, batch: int) -> Iterator[Call]:
    """Yield for each layer two forward passes, its kernel's gradient and its input's.

    The first layer's input is the picture, whose gradient nobody asks for.
    """
    first = True
    for node in network.nodes[1:]:
        make = MAKERS.get(type(node.layer))
        if make is None:
            if node.layer.multiply_adds(*network.input_shapes(node)):
                raise NotImplementedError(f"no kernels are known for {node.layer.kind!r}")
            continue
        (shape,) = network.input_shapes(node)
        forward, of_kernel, of_input = make(node.layer, shape, batch)
        yield from (forward, forward, of_kernel)
        if not first:
            yield of_input
        first = False


def _conv(layer: Any, shape: tuple[int, ...], batch: int) -> tuple[Call, Call, Call]:
    """Channels last in memory, as Triptych and the loop by hand keep them."""
    last = torch.channels_last
    x = torch.randn(batch, shape[2], *shape[:2]).to(memory_format=last)
    kernel = torch.randn(layer.filters, shape[2], *layer.kernel).to(memory_format=last)
    bias, stride = torch.randn(layer.filters), layer.stride
    upstream = torch.randn_like(F.conv2d(x, kernel, bias, stride))

    def backward(*wanted: bool) -> object:
        pads = [0, 0], [1, 1], False, [0, 0], 1
        return torch.ops.aten.convolution_backward(
            upstream, x, kernel, [layer.filters], list(stride), *pads, list(wanted)
        )

    return (
        lambda: F.conv2d(x, kernel, bias, stride),
        lambda: backward(False, True, True),
        lambda: backward(True, False, False),
    )


def _dense(layer: Any, shape: tuple[int, ...], batch: int) -> tuple[Call, Call, Call]:
    x, kernel = torch.randn(batch, *shape), torch.randn(layer.units, *shape)
    bias, upstream = torch.randn(layer.units), torch.randn(batch, layer.units)
    return (
        lambda: F.linear(x, kernel, bias),
        lambda: (upstream.t() @ x, upstream.sum(0)),
        lambda: upstream @ kernel,
    )


MAKERS = {spec.Conv: _conv, spec.Dense: _dense}
