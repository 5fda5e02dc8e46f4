"""A forecaster whose predictions are known without it, and frames and files for it."""

import numpy as np
import pytest
from PIL import Image

from stlight_jax.data.scaling import Scaling
from stlight_jax.forecasting.predict import Request, predict
from stlight_jax.model.stlight import STLightConfig

RNG = np.random.default_rng(0)


class Line:
    """Stands for a forecaster: every pixel goes on along the line through its first and its last frame.

    What it predicts is known without it, and it takes no time.
    """

    def __init__(self, in_frames=3, out_frames=2, in_channels=1, out_channels=1, scaling=None, **description):
        self.model = STLightConfig(
            in_frames=in_frames, out_frames=out_frames, in_channels=in_channels, out_channels=out_channels,
            hidden_dim=8, depth=2, patch_size=2,
        )  # fmt: skip
        self.channels, self.covariates = in_channels, None
        self.scaling = scaling or Scaling()
        self.description = {"name": "line", **description}
        self.source = "line"
        self.calls = []

    def history(self, horizon):
        """It has no periods."""
        return ()

    def __call__(self, frames, horizon=None, dtype=None, ready=None, survey=True, history_first=False, times=None):
        self.calls.append(frames.shape)
        if ready is not None:
            ready(horizon)
        return self.of(frames, horizon or self.model.out_frames).astype(dtype)

    def of(self, frames, horizon):
        """[b, t, h, w, c] -> [b, horizon, h, w, c']."""
        frames = np.asarray(frames, np.float64)[..., : self.model.out_channels]
        first, last = frames[:, :1], frames[:, -1:]
        ahead = np.arange(1, horizon + 1)[:, None, None, None]
        return last + (last - first) / (frames.shape[1] - 1) * ahead


def movie(frames=12, size=(8, 10), channels=1, dtype=np.uint8, scale=1.0):
    """[t, h, w, c], brightening slowly, each pixel at a pace of its own."""
    start, pace = RNG.random((2, *size, channels))
    values = (40 + 60 * start + (1 + 2 * pace) * np.arange(frames)[:, None, None, None]) * scale
    return values.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(values).astype(dtype)


def as_integers(frames, dtype=np.uint8):
    limits = np.iinfo(dtype)
    return np.clip(np.rint(frames), limits.min, limits.max).astype(dtype)


def saved(path, frames, **others):
    """By the ending: [t, h, w] of one channel."""
    frames = frames[..., 0] if frames.shape[-1] == 1 else frames
    if path.suffix == ".npy":
        np.save(path, frames)
    elif path.suffix == ".npz":
        np.savez(path, rain=frames, **others)
    elif path.suffix == ".h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            file["deep/rain"] = frames
            file["deep/rain"].attrs["unit"] = "mm"
    elif path.suffix == ".gif":
        first, *rest = map(Image.fromarray, frames)
        first.save(path, save_all=True, append_images=rest, duration=40)
    elif path.suffix == ".mp4":
        av = pytest.importorskip("av")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "0"})
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv444p"
            for frame in frames:
                picture = np.repeat(frame[..., None], 3, -1)
                for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
    else:
        path.mkdir()
        for place, frame in enumerate(frames):
            Image.fromarray(frame).save(path / f"frame{place}.png")
    return path


def run(path, model=None, **settings):
    return predict(Request(str(path), **{"report": "none", **settings}), model or Line())
