"""STLight's forward pass in plain NumPy float64, written from the paper's description; obvious before quick."""

import math

import numpy as np

_erf = np.vectorize(math.erf)


def gelu(x):
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def batch_norm(x, scale, bias, mean, variance):
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + bias


def convolution(x, kernel, stride, padding):
    """`[b, h, w, c]` with kernel `[k, k, c, d]`, no bias."""
    side = kernel.shape[0]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = ((size - side) // stride + 1 for size in x.shape[1:3])
    out = np.zeros((len(x), rows, columns, kernel.shape[-1]))
    for row in range(rows):
        for column in range(columns):
            window = x[:, row * stride : row * stride + side, column * stride : column * stride + side]
            out[:, row, column] = np.einsum("bijc,ijcd->bd", window, kernel)
    return out


def depthwise(x, kernel, dilation):
    """`[b, h, w, d]` with kernel `[k_h, k_w, 1, d]`; every output pixel gathers its taps, and outside the frame is nothing."""
    rows, columns = (side // 2 * dilation for side in kernel.shape[:2])
    height, width = x.shape[1:3]
    x = np.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    out = np.zeros((len(x), height, width, x.shape[-1]), x.dtype)
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            out += x[:, i * dilation : i * dilation + height, j * dilation : j * dilation + width] * kernel[i, j, 0]
    return out


def pixel_shuffle(x, factor):
    """Output pixel (y*r + i, x*r + j), channel c, is input channel c*r*r + i*r + j."""
    batch, height, width, channels = x.shape
    out = np.zeros((batch, height * factor, width * factor, channels // factor**2))
    for c in range(out.shape[-1]):
        for i in range(factor):
            for j in range(factor):
                out[:, i::factor, j::factor, c] = x[..., c * factor * factor + i * factor + j]
    return out


def stlight(config, params, stats, frames):
    """Evaluation-mode prediction `[b, t', h, w, c']`; trees as Flax has them, leaves convertible to NumPy."""

    def norm(tree, statistics, block=...):
        at = [np.asarray(tree[key], np.float64)[block] for key in ("scale", "bias")]
        return *at, *(np.asarray(statistics[key], np.float64)[block] for key in ("mean", "var"))

    batch, time, height, width, channels = frames.shape
    x = np.zeros((batch, height, width, time * channels))
    for t in range(time):
        for c in range(channels):
            x[..., t * channels + c] = frames[:, t, :, :, c]

    overlap, patch = config.overlap, config.patch_size
    padding = (overlap - 1) * patch // 2 if overlap >= 2 else 0
    encoder = params["patch_encoder"]
    x = convolution(x, np.asarray(encoder["conv"]["kernel"], np.float64), patch, padding) + np.asarray(encoder["bias"])
    x = gelu(batch_norm(x, *norm(encoder["norm"], stats["patch_encoder"]["norm"])))

    blocks = []
    for name in ("mixers_before_skip", "mixers_across_skip", "mixers_after_skip"):
        if name in params:
            length = len(params[name]["near"]["bias"])
            blocks += [(params[name], stats[name], block) for block in range(length)]
    assert len(blocks) == config.depth
    skipped = None
    for index, (tree, statistics, block) in enumerate(blocks):
        if index == config.depth // 3:
            skipped = x
        if index == 2 * config.depth // 3:
            x = x + skipped

        def leaf(layer, name, tree=tree, block=block):
            return np.asarray(tree[layer][name], np.float64)[block]

        y = depthwise(x, leaf("near", "kernel"), 1) + leaf("near", "bias")
        y = depthwise(y, leaf("far", "kernel"), config.dilation) + leaf("far", "bias")
        x = x + batch_norm(gelu(y), *norm(tree["spatial_norm"], statistics["spatial_norm"], block))
        y = gelu(x @ leaf("pointwise", "kernel") + leaf("pointwise", "bias"))
        x = batch_norm(y, *norm(tree["pointwise_norm"], statistics["pointwise_norm"], block))

    x = pixel_shuffle(x, patch)
    last = params["patch_reassembly"]["conv"]
    x = x @ np.asarray(last["kernel"], np.float64) + np.asarray(last["bias"], np.float64)
    out = np.zeros((batch, config.out_frames, height, width, config.out_channels))
    for t in range(config.out_frames):
        for c in range(config.out_channels):
            out[:, t, :, :, c] = x[..., t * config.out_channels + c]
    return out
