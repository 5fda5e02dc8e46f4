"""Published results as data: the types of the tables that each data set's file contains.

STLight's results are the paper's (arXiv 2411.10198: table 3, figures 1 and 4), the others OpenSTL's benchmark tables
(github.com/chengtan9907/OpenSTL, docs/en/model_zoos), which the paper quotes; where it misquotes them, OpenSTL's figure stands
here and the note reports it. No table for KTH 10 -> 40 in these definitions is published.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stlight_jax.model.stlight import STLightConfig

# The settings that make a network another one; others, such as precision, only change how it is computed.
_SETTINGS = ("hidden_dim", "depth", "overlap", "near_kernel", "far_kernel")
_SHAPE = ("in_frames", "out_frames", "in_channels", "out_channels", "patch_size", "dilation", *_SETTINGS)


@dataclasses.dataclass(frozen=True)
class PublishedResult:
    """One row of a table.

    Attributes:
      name: of the method, as the paper writes it.
      parameters: in millions.
      flops: in 1e9 multiply-accumulates of one sequence, as fvcore counts them: it leaves out convolutions padded "same", which
        are the depthwise ones of STLight and of SimVP + ConvMixer.
      metrics: {"mse", "mae", "psnr", "ssim": value} in OpenSTL's definitions, as far as published. MSE and MAE are summed over
        pixels and channels of frames in [0, 1], PSNR is in dB, SSIM has data range 2.
      note: source of the figures, if it is not the table's.
      network: settings of the result's STLight network, by the names of `STLightConfig`; None for other methods and for
        unknown settings. The paper gives the settings of STLight-L on Moving MNIST. The others are the only round ones with
        the published counts, which cannot distinguish the near kernel from the far one.
    """

    name: str
    parameters: float | None
    flops: float | None
    metrics: dict[str, float]
    note: str = ""
    network: dict[str, int] | None = None


@dataclasses.dataclass(frozen=True)
class PublishedTable:
    """The results on one data set, for one number of input and predicted frames.

    Attributes:
      in_frames: T.
      out_frames: T'.
      frame: height, width, channels.
      title: for a heading.
      source: publication of the results, for a heading.
      recipe: how the networks were trained.
      settings: STLight's recipe, by the keys of a config; keys that it lacks are as in `base_config`.
      train_sequences: who counted -> number of training sequences.
      test_sequences: who counted -> number of test sequences.
      metrics: the columns, in order.
      results: STLight from small to large, then the others by name.
    """

    in_frames: int
    out_frames: int
    frame: tuple[int, int, int]
    title: str
    source: str
    recipe: str
    settings: dict[str, Any]
    train_sequences: dict[str, int]
    test_sequences: dict[str, int]
    metrics: tuple[str, ...]
    results: tuple[PublishedResult, ...]

    def result_of(self, model: STLightConfig) -> PublishedResult | None:
        """Finds the row of a network, however it is computed (precision, dtype, ...).

        Args:
          model: the network.

        Returns:
          The row; None if the table has no result of this network.
        """
        settings = {key: getattr(model, key) for key in _SHAPE}
        settings["overlap"] = settings["overlap"] if settings["overlap"] > 1 else 0  # 1 is no overlap either
        return next((row for row in self.results if row.network == settings), None)


def make_table(
    stlight: list[tuple[Any, ...]], others: list[tuple[Any, ...]], patch_size: int = 2, **table: Any
) -> PublishedTable:
    """Makes a table from rows (name, millions of parameters, 1e9 FLOPs, values in the order of `metrics`, note).

    Args:
      stlight: STLight's rows. Each has (hidden_dim, depth, overlap, near_kernel, far_kernel), or None, before the note.
      others: rows of the other methods.
      patch_size: of all STLight's networks; their dilation is 3.
      **table: all other attributes of the table.

    Returns:
      The table.
    """
    frame, in_frames, out_frames = table["frame"], table["in_frames"], table["out_frames"]
    common = {"in_frames": in_frames, "out_frames": out_frames, "in_channels": frame[2], "out_channels": frame[2]}
    common |= {"patch_size": patch_size, "dilation": 3}

    def result(row: tuple[Any, ...], settings: tuple[int, ...] | None = None) -> PublishedResult:
        name, parameters, flops, values = row[:4]
        metrics = {key: value for key, value in zip(table["metrics"], values, strict=True) if value is not None}
        network = None if settings is None else {**common, **dict(zip(_SETTINGS, settings, strict=True))}
        return PublishedResult(name, parameters, flops, metrics, row[4] if len(row) > 4 else "", network)

    rows = [result((*row[:4], *row[5:]), row[4]) for row in stlight]
    return PublishedTable(results=(*rows, *map(result, others)), **table)
