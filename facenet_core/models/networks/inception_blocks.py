"""The blocks that both Inception-ResNets are built of; they differ in the numbers of filters.

After Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
Learning", https://arxiv.org/abs/1602.07261, with the names of davidsandberg/facenet's graphs. The
sizes in the names are the paper's, for images of 299 pixels.
"""

from __future__ import annotations

from facenet_core.models.networks.layers import Layers, concatenate, max_pool, residual
from facenet_core.models.preprocessing import Tensor

Filters = tuple[int, int, int]


def block35(layers: Layers, x: Tensor, scale: float, name: str, *, branch_2: Filters) -> Tensor:
    """Inception-ResNet-A: [n, h, w, c] -> the same shape."""
    one = layers.conv(x, 32, 1, f"{name}.Branch_0.Conv2d_1x1")
    two = layers.conv(x, 32, 1, f"{name}.Branch_1.Conv2d_0a_1x1")
    two = layers.conv(two, 32, 3, f"{name}.Branch_1.Conv2d_0b_3x3")
    three = layers.conv(x, branch_2[0], 1, f"{name}.Branch_2.Conv2d_0a_1x1")
    three = layers.conv(three, branch_2[1], 3, f"{name}.Branch_2.Conv2d_0b_3x3")
    three = layers.conv(three, branch_2[2], 3, f"{name}.Branch_2.Conv2d_0c_3x3")
    return residual(layers, x, [one, two, three], scale, name)


def block17(
    layers: Layers, x: Tensor, scale: float, name: str, *, branch_0: int, branch_1: Filters
) -> Tensor:
    """Inception-ResNet-B: [n, h, w, c] -> the same shape."""
    one = layers.conv(x, branch_0, 1, f"{name}.Branch_0.Conv2d_1x1")
    two = layers.conv(x, branch_1[0], 1, f"{name}.Branch_1.Conv2d_0a_1x1")
    two = layers.conv(two, branch_1[1], (1, 7), f"{name}.Branch_1.Conv2d_0b_1x7")
    two = layers.conv(two, branch_1[2], (7, 1), f"{name}.Branch_1.Conv2d_0c_7x1")
    return residual(layers, x, [one, two], scale, name)


def block8(
    layers: Layers,
    x: Tensor,
    scale: float,
    name: str,
    *,
    branch_1: Filters,
    activation: bool = True,
) -> Tensor:
    """Inception-ResNet-C: [n, h, w, c] -> the same shape."""
    one = layers.conv(x, 192, 1, f"{name}.Branch_0.Conv2d_1x1")
    two = layers.conv(x, branch_1[0], 1, f"{name}.Branch_1.Conv2d_0a_1x1")
    two = layers.conv(two, branch_1[1], (1, 3), f"{name}.Branch_1.Conv2d_0b_1x3")
    two = layers.conv(two, branch_1[2], (3, 1), f"{name}.Branch_1.Conv2d_0c_3x1")
    return residual(layers, x, [one, two], scale, name, activation)


def reduction_a(layers: Layers, x: Tensor, name: str, *, branch_1: Filters) -> Tensor:
    """Halves height and width: [n, h, w, c] -> [n, h/2, w/2, 384 + branch_1[2] + c]."""
    one = layers.conv(x, 384, 3, f"{name}.Branch_0.Conv2d_1a_3x3", strides=2, padding="valid")
    two = layers.conv(x, branch_1[0], 1, f"{name}.Branch_1.Conv2d_0a_1x1")
    two = layers.conv(two, branch_1[1], 3, f"{name}.Branch_1.Conv2d_0b_3x3")
    last = f"{name}.Branch_1.Conv2d_1a_3x3"
    two = layers.conv(two, branch_1[2], 3, last, strides=2, padding="valid")
    pooled = max_pool(x, 3, f"{name}.Branch_2.MaxPool_1a_3x3")
    return concatenate([one, two, pooled], f"{name}.concat")


def reduction_b(layers: Layers, x: Tensor, name: str, *, last: Filters, between: int) -> Tensor:
    """Halves height and width: [n, h, w, c] -> [n, h/2, w/2, sum(last) + c].

    Args:
        last: filters of the last convolution of each branch.
        between: filters of the one between in the third branch.
    """
    branches = []
    for number, filters in enumerate(last):
        branch = layers.conv(x, 256, 1, f"{name}.Branch_{number}.Conv2d_0a_1x1")
        if number == 2:
            branch = layers.conv(branch, between, 3, f"{name}.Branch_2.Conv2d_0b_3x3")
        layer = f"{name}.Branch_{number}.Conv2d_1a_3x3"
        branches.append(layers.conv(branch, filters, 3, layer, strides=2, padding="valid"))
    branches.append(max_pool(x, 3, f"{name}.Branch_3.MaxPool_1a_3x3"))
    return concatenate(branches, f"{name}.concat")
