"""The networks against a plain NumPy statement of the same layers."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from facenet_core.alignment.mtcnn import canvases
from facenet_core.alignment.mtcnn.networks import (
    Networks,
    load_networks,
    probability,
)
from facenet_core.alignment.mtcnn.weights import CANVAS, load_weights


@pytest.fixture(scope="module", params=["openvino", "tensorflow"])
def networks(request: pytest.FixtureRequest) -> Networks:
    pytest.importorskip(request.param)
    return load_networks(request.param)


def conv(x, kernel, bias):
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))
    return np.einsum("hwcij,ijco->hwo", windows, kernel, optimize=True) + bias


def prelu(x, slope):
    return np.where(x > 0, x, slope * x)


def pool(x, size, padding):
    height, width = x.shape[:2]
    if padding == "SAME":
        rows = (-(-height // 2) - 1) * 2 + size - height
        columns = (-(-width // 2) - 1) * 2 + size - width
        pads = [(max(n, 0) // 2, max(n, 0) - max(n, 0) // 2) for n in (rows, columns)]
        x = np.pad(x, [*pads, (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))
    return windows[::2, ::2].max(axis=(3, 4))


def logit(x):
    return x[..., 1:] - x[..., :1]


def as_caffe_flattens(x):  # column by column
    return x.transpose(1, 0, 2).reshape(-1)


def pnet(pixels):
    w = load_weights("pnet")
    x = pool(prelu(conv((pixels - 127.5) / 128, w[0], w[1]), w[2]), 2, "SAME")
    x = prelu(conv(x, w[3], w[4]), w[5])
    x = prelu(conv(x, w[6], w[7]), w[8])
    return np.dstack([logit(conv(x, w[11], w[12])), conv(x, w[9], w[10])])


def rnet(pixels):
    w = load_weights("rnet")
    x = pool(prelu(conv((pixels - 127.5) / 128, w[0], w[1]), w[2]), 3, "SAME")
    x = pool(prelu(conv(x, w[3], w[4]), w[5]), 3, "VALID")
    x = as_caffe_flattens(prelu(conv(x, w[6], w[7]), w[8]))
    x = prelu(x @ w[9] + w[10], w[11])
    return np.concatenate([logit(x @ w[14] + w[15]), x @ w[12] + w[13]])


def onet(pixels):
    w = load_weights("onet")
    x = pool(prelu(conv((pixels - 127.5) / 128, w[0], w[1]), w[2]), 3, "SAME")
    x = pool(prelu(conv(x, w[3], w[4]), w[5]), 3, "VALID")
    x = pool(prelu(conv(x, w[6], w[7]), w[8]), 2, "SAME")
    x = as_caffe_flattens(prelu(conv(x, w[9], w[10]), w[11]))
    x = prelu(x @ w[12] + w[13], w[14])
    return np.concatenate([logit(x @ w[19] + w[20]), x @ w[15] + w[16], x @ w[17] + w[18]])


def test_pnet_sees_each_image_on_a_canvas_as_if_it_were_alone(networks):
    rng = np.random.default_rng(0)
    sizes = [(12, 12), (13, 12), (12, 13), (25, 38), (40, 27), (31, 31), (310, 17), (14, 329)]
    levels = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    layouts = canvases.arrange(sizes, CANVAS)
    maps = [np.full((canvases.cells(h), canvases.cells(w), 5), np.nan) for h, w in sizes]
    for tiles, canvas in zip(layouts, canvases.paint(layouts, levels, CANVAS), strict=True):
        output = networks.proposal(canvas)
        for level, cell, path in zip(*canvases.passing(tiles, output, -np.inf), strict=True):
            maps[level][tuple(cell)] = output[tuple(path)]
    for level, judged in zip(levels, maps, strict=True):
        np.testing.assert_allclose(judged, pnet(level.astype(np.float64)), atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 3, 16, 17, 70])
@pytest.mark.parametrize(
    ("name", "plain", "side"), [("refinement", rnet, 24), ("output", onet, 48)]
)
def test_rnet_and_onet_judge_any_number_of_images(networks, name, plain, side, count):
    images = np.random.default_rng(count).uniform(0, 255, (count, side, side, 3))
    outputs = getattr(networks, name)(images.astype(np.float32))
    assert len(outputs) == count
    for i in {0, count // 2, count - 1} & set(range(count)):
        np.testing.assert_allclose(outputs[i], plain(images[i]), atol=1e-4)


def test_a_logit_becomes_the_softmax_over_face_and_none():
    logits = np.float32([-30, -1, 0, 0.5, 12])
    expected = np.exp(logits) / (np.exp(logits) + 1)
    np.testing.assert_allclose(probability(logits), expected, rtol=1e-5)
    assert probability(logits).dtype == np.float32


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_with_threads_the_process_keeps_freed_memory_even_where_dask_has_it_returned():
    script = """
import resource
import numpy as np
from facenet_core.alignment.mtcnn.networks import load_networks
load_networks(threads=1)
np.ones(10_000_000, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    np.ones(10_000_000, np.uint8)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
assert faults < 2441, f"{faults} pages fetched anew"  # of which one array has so many
"""
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
