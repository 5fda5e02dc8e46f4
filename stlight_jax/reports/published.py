"""Every published result that users compare with, as data.

STLight's are the paper's (arXiv 2411.10198: table 3, figures 1 and 4), the others OpenSTL's benchmark tables
(github.com/chengtan9907/OpenSTL, docs/en/model_zoos), which the paper quotes; where it misquotes them, OpenSTL's figure stands
here and the note says so. Nobody has published a table for KTH 10 -> 40 in these definitions.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from stlight_jax.model.stlight import STLightConfig


@dataclasses.dataclass(frozen=True)
class PublishedResult:
    """One row of a table.

    Attributes:
      name: of the method, as the paper writes it.
      parameters: in millions.
      flops: in 1e9 multiply-accumulates of one sequence, as fvcore counts them: convolutions padded "same" are left out, which
        are the depthwise ones of STLight and of SimVP + ConvMixer.
      metrics: {"mse", "mae", "psnr", "ssim": value} in OpenSTL's definitions; only those that were published. MSE and MAE are
        summed over pixels and channels of frames in [0, 1], PSNR is in dB, SSIM has data range 2.
      note: where the figures come from, if not from the table's source.
      network: the STLight network that made it; None for other methods and where its settings are unknown. The paper gives
        those of STLight-L on Moving MNIST. The others are the only round ones with the published counts, which cannot tell
        the near kernel from the far one.
    """

    name: str
    parameters: float | None
    flops: float | None
    metrics: dict[str, float]
    note: str = ""
    network: STLightConfig | None = None


@dataclasses.dataclass(frozen=True)
class PublishedTable:
    """The results on one data set with one split into frames seen and predicted.

    Attributes:
      dataset: as in a config's `dataset`.
      in_frames, out_frames: T and T'.
      frame: height, width, channels.
      title, source: for a heading.
      recipe: how the networks were trained.
      settings: STLight's recipe by the keys of a config; what it does not name is as in `base_config`.
      train_sequences, test_sequences: who counted -> how many.
      metrics: the columns, in order.
      results: STLight from small to large, then the others by name.
    """

    dataset: str
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


def published_table(dataset: str, in_frames: int, out_frames: int) -> PublishedTable | None:
    """The table for `in_frames` -> `out_frames` frames of `dataset`; None where nothing comparable is published."""
    for table in _TABLES:
        if (table.dataset, table.in_frames, table.out_frames) == (dataset, in_frames, out_frames):
            return table
    return None


def published_size(table: PublishedTable, model: STLightConfig) -> PublishedResult | None:
    """The row of exactly this network, however it is computed (precision, dtype, ...); None if it is not in the table."""
    for result in table.results:
        if result.network is not None and _shape(result.network) == _shape(model):
            return result
    return None


def _shape(model: STLightConfig) -> STLightConfig:
    """`model` without what leaves the published network the same."""
    return STLightConfig(
        in_frames=model.in_frames,
        out_frames=model.out_frames,
        in_channels=model.in_channels,
        out_channels=model.out_channels,
        hidden_dim=model.hidden_dim,
        depth=model.depth,
        patch_size=model.patch_size,
        overlap=model.overlap if model.overlap > 1 else 0,
        near_kernel=model.near_kernel,
        far_kernel=model.far_kernel,
        dilation=model.dilation,
    )


def _table(stlight: list[tuple], others: list[tuple], patch_size: int = 2, **about: Any) -> PublishedTable:
    """A table of rows (name, millions of parameters, 1e9 FLOPs, values in the order of `metrics`, note).

    STLight's rows have (hidden_dim, depth, overlap, near_kernel, far_kernel) or None before the note, and all have patch size
    `patch_size` and dilation 3.
    """

    def network(hidden_dim: int, depth: int, overlap: int, near_kernel: int, far_kernel: int) -> STLightConfig:
        return STLightConfig(
            in_frames=about["in_frames"],
            out_frames=about["out_frames"],
            in_channels=about["frame"][2],
            out_channels=about["frame"][2],
            hidden_dim=hidden_dim,
            depth=depth,
            patch_size=patch_size,
            overlap=overlap,
            near_kernel=near_kernel,
            far_kernel=far_kernel,
            dilation=3,
        )

    def result(
        name: str,
        parameters: float,
        flops: float | None,
        values: tuple[float | None, ...],
        note: str = "",
        network: STLightConfig | None = None,
    ) -> PublishedResult:
        published = {key: value for key, value in zip(about["metrics"], values, strict=True) if value is not None}
        return PublishedResult(name, parameters, flops, published, note, network)

    rows = [result(*row[:4], *row[5:], network=network(*row[4]) if row[4] else None) for row in stlight]
    return PublishedTable(results=(*rows, *(result(*row) for row in others)), **about)


_ONE_OF_TWO_PASSES = "FLOPs of one pass of 10 frames; 20 frames take two"

_MOVING_MNIST = _table(
    dataset="moving_mnist",
    in_frames=10,
    out_frames=10,
    frame=(64, 64, 1),
    title="Moving MNIST, 10 -> 10 frames",
    source="STLight paper, table 3",
    recipe="200 epochs of 10,000 generated sequences, batch 16, Adam, OneCycle to 0.003 (others: OpenSTL's rates)",
    settings={"train.epochs": 200, "train.batch_size": 16, "optimizer.learning_rate": 3e-3, "data.sequences_per_epoch": 10_000},
    train_sequences={},
    test_sequences={"paper": 10_000},
    metrics=("mse", "mae", "ssim"),
    stlight=[
        ("STLight 5.3M", 5.3, None, (26.65, None, None), None, "read from figure 1; widths 540 and 544 both fit"),
        ("STLight-XS", 11.1, 10.6, (24.48, 71.21, 0.9444), (800, 16, 0, 3, 7)),
        ("STLight-S", 17.1, 16.5, (23.29, 68.33, 0.9454), (1000, 16, 0, 3, 7)),
        ("STLight-M", 24.3, 23.7, (22.21, 68.33, 0.9496), (1200, 16, 0, 3, 7), "the paper prints one MAE for S and M"),
        ("STLight-L", 32.9, 32.3, (21.80, 66.92, 0.9515), (1400, 16, 0, 3, 7)),
        ("STLight 54M", 54.01, None, (20.54, None, None), (1800, 16, 2, 3, 7), "read from figure 1"),
    ],
    others=[
        ("ConvLSTM", 15.0, 56.8, (29.80, 90.64, 0.9288)),
        ("DMVFN", 3.5, 0.2, (123.67, 179.96, 0.8140)),
        ("E3D-LSTM", 51.0, 298.9, (35.97, 78.28, 0.9320)),
        ("MAU", 4.5, 17.8, (26.86, 78.22, 0.9398)),
        ("MIM", 38.0, 179.2, (22.55, 69.97, 0.9498)),
        ("PhyDNet", 3.1, 15.3, (28.19, 78.64, 0.9374)),
        ("PredRNN", 23.8, 116.0, (23.97, 72.82, 0.9462)),
        ("PredRNN++", 38.6, 171.7, (22.06, 69.58, 0.9509)),
        ("PredRNNv2", 23.9, 116.6, (24.13, 73.73, 0.9453)),
        ("SimVP + ConvMixer", 3.9, 5.5, (32.09, 88.93, 0.9259)),
        ("SimVP + IncepU", 58.0, 19.4, (32.15, 89.05, 0.9268), "SSIM is OpenSTL's; the paper prints 0.9402"),
        ("SimVP + ViT", 46.1, 16.9, (35.15, 95.87, 0.9139)),
        ("TAU", 44.7, 16.0, (24.60, 71.93, 0.9454)),
    ],
)

# The paper prints 100 times the MSE.
_TAXIBJ = _table(
    dataset="taxibj",
    in_frames=4,
    out_frames=4,
    frame=(32, 32, 2),
    patch_size=1,
    title="TaxiBJ, 4 -> 4 frames",
    source="STLight paper, table 3",
    recipe="50 epochs, batch 16, Adam, cosine from 0.003 (others: OpenSTL's rates, 5 epochs of warm-up)",
    settings={"train.epochs": 50, "train.batch_size": 16, "optimizer.learning_rate": 3e-3, "optimizer.schedule": "cosine"},
    train_sequences={"paper": 20_461},
    test_sequences={"paper": 500},
    metrics=("mse", "mae", "ssim"),
    stlight=[
        ("STLight-S", 0.99, 0.82, (0.3479, 15.58, 0.9825), (256, 12, 0, 3, 7)),
        ("STLight-M", 1.65, 1.37, (0.3254, 15.25, 0.9839), (256, 20, 0, 3, 7)),
        ("STLight-L", 2.96, 2.71, (0.3087, 15.00, 0.9853), (512, 10, 0, 3, 7)),
    ],
    others=[
        ("ConvLSTM", 14.98, 20.74, (0.3358, 15.32, 0.9836)),
        ("DMVFN", 3.54, 0.057, (3.3954, 45.52, 0.8321), "OpenSTL's digits; the paper prints 339.5 and 45.526"),
        ("E3D-LSTM", 50.99, 98.19, (0.3427, 14.98, 0.9842)),
        ("MAU", 4.41, 6.02, (0.3268, 15.26, 0.9834)),
        ("MIM", 37.86, 64.10, (0.3110, 14.96, 0.9847)),
        ("PhyDNet", 3.09, 5.60, (0.3622, 15.53, 0.9828)),
        ("PredRNN", 23.66, 42.40, (0.3194, 15.31, 0.9838)),
        ("PredRNN++", 38.40, 62.95, (0.3348, 15.37, 0.9834)),
        ("PredRNNv2", 23.67, 42.63, (0.3834, 15.55, 0.9826)),
        ("SimVP + ConvMixer", 0.84, 0.23, (0.3634, 15.63, 0.9831)),
        ("SimVP + IncepU", 13.79, 3.61, (0.3282, 15.45, 0.9835)),
        ("TAU", 9.55, 2.49, (0.3108, 14.93, 0.9848)),
    ],
)

_KTH = _table(
    dataset="kth",
    in_frames=10,
    out_frames=20,
    frame=(128, 128, 1),
    title="KTH, 10 -> 20 frames",
    source="STLight paper, table 3",
    recipe="100 epochs, batch 12, Adam, OneCycle to 0.0005 (others: batch 16, OpenSTL's rates)",
    settings={"train.epochs": 100, "train.batch_size": 12, "optimizer.learning_rate": 5e-4},
    train_sequences={"paper": 4940, "OpenSTL's documents": 5200},
    test_sequences={"paper": 3030, "OpenSTL's documents": 3167},
    metrics=("mae", "psnr", "ssim"),
    stlight=[
        ("STLight-XS", 1.4, 5.4, (376.1, 27.50, 0.9052), (400, 8, 0, 3, 5)),
        ("STLight-S", 5.4, 20.9, (377.8, 27.52, 0.9078), (600, 14, 0, 3, 5)),
        ("STLight-M", 9.5, 37.1, (367.9, 27.54, 0.9102), (800, 14, 0, 3, 5)),
        ("STLight-L", 14.6, 57.8, (363.8, 27.57, 0.9113), (1000, 14, 0, 3, 5)),
    ],
    others=[
        ("ConvLSTM", 14.9, 1368, (445.5, 26.99, 0.8977)),
        ("DMVFN", 3.5, 0.88, (413.2, 26.65, 0.8976)),
        ("E3D-LSTM", 53.5, 217, (892.7, 21.78, 0.8153), "OpenSTL's; the paper prints its MSE as MAE and its MAE as PSNR"),
        ("MAU", 20.1, 399, (471.2, 26.73, 0.8945)),
        ("MIM", 39.8, 1099, (380.8, 27.78, 0.9025)),
        ("PhyDNet", 3.1, 93.6, (765.6, 23.41, 0.8322), "PSNR is OpenSTL's; the paper prints none"),
        ("PredRNN", 23.6, 2800, (380.6, 27.95, 0.9097), "PSNR is OpenSTL's; the paper prints 27.81"),
        ("PredRNN++", 38.3, 4162, (370.4, 28.13, 0.9124)),
        ("PredRNNv2", 23.6, 2815, (368.8, 28.01, 0.9099)),
        ("SimVP + ConvMixer", 1.5, 18.3, (446.1, 26.66, 0.8993), _ONE_OF_TWO_PASSES),
        ("SimVP + IncepU", 12.2, 62.8, (397.1, 27.46, 0.9065), _ONE_OF_TWO_PASSES),
        ("TAU", 15.0, 73.8, (421.7, 27.10, 0.9086), _ONE_OF_TWO_PASSES),
    ],
)

_KITTI_CALTECH = _table(
    dataset="kitti_caltech",
    in_frames=10,
    out_frames=1,
    frame=(128, 160, 3),
    title="KITTI -> Caltech Pedestrian, 10 -> 1 frames",
    source="STLight: read from the paper's figure 4, to 0.002 M and 0.0001; others: OpenSTL",
    recipe="100 epochs, batch 8, Adam, OneCycle to 0.01, final_div_factor 3000 (others: batch 16, OpenSTL's rates)",
    settings={"train.epochs": 100, "train.batch_size": 8, "optimizer.learning_rate": 1e-2, "optimizer.final_div_factor": 3e3},
    train_sequences={"paper": 2042, "OpenSTL's code": 3738},
    test_sequences={"paper": 1983},
    metrics=("mse", "mae", "ssim", "psnr"),
    stlight=[
        (f"STLight {label}", parameters, None, (None, None, ssim, None), settings)
        for label, parameters, ssim, settings in [
            ("0.09M", 0.088, 0.9166, None),
            ("0.11M", 0.114, 0.9192, None),
            ("0.18M", 0.175, 0.9205, None),
            ("0.25M", 0.252, 0.9243, None),
            ("0.46M", 0.459, 0.9264, None),
            ("0.60M", 0.601, 0.9275, None),
            ("1.61M", 1.607, 0.9308, None),
            ("1.68M", 1.676, 0.9307, None),
            ("2.12M", 2.123, 0.9317, None),
            ("5M", 4.979, 0.9340, (600, 12, 0, 5, 7)),
            ("7M", 7.021, 0.9346, (800, 10, 0, 3, 7)),
            ("8M", 8.404, 0.9357, (800, 12, 0, 3, 7)),
            ("11M", 10.695, 0.9365, (1000, 10, 0, 5, 5)),
            ("13M", 12.809, 0.9369, (1000, 12, 0, 5, 5)),
            ("15M", 15.233, 0.9377, (1200, 10, 0, 5, 5)),
        ]
    ],
    others=[
        ("ConvLSTM", 15.0, 595, (139.6, 1583.3, 0.9345, 27.46)),
        ("DMVFN", 3.6, 1.2, (183.9, 1531.1, 0.9314, 26.95)),
        ("E3D-LSTM", 54.9, 1004, (200.6, 1946.2, 0.9047, 25.45)),
        ("MAU", 24.3, 172, (177.8, 1800.4, 0.9176, 26.14), "the paper's figure 4 draws it at 8.6 M"),
        ("MIM", 49.2, 1858, (125.1, 1464.0, 0.9409, 28.10)),
        ("PhyDNet", 3.1, 40.4, (312.2, 2754.8, 0.8615, 23.26)),
        ("PredNet", 12.5, 42.8, (159.8, 1568.9, 0.9286, 27.21)),
        ("PredRNN", 23.7, 1216, (130.4, 1525.5, 0.9374, 27.81)),
        ("PredRNN++", 38.5, 1803, (125.5, 1453.2, 0.9433, 28.02)),
        ("PredRNNv2", 23.8, 1223, (147.8, 1610.5, 0.9330, 27.12)),
        ("SimVP + ConvMixer", 1.5, 23.1, (174.7, 1854.3, 0.9232, 26.23)),
        ("SimVP + ConvNeXt", 12.5, 80.2, (146.8, 1630.0, 0.9336, 27.19)),
        ("SimVP + gSTA", 15.6, 96.3, (129.7, 1507.7, 0.9454, 27.89)),
        ("SimVP + HorNet", 15.3, 94.4, (152.8, 1637.9, 0.9365, 27.09)),
        ("SimVP + IncepU", 8.6, 60.6, (160.2, 1690.8, 0.9338, 26.81)),
        ("SimVP + MLP-Mixer", 22.2, 83.5, (207.9, 1835.9, 0.9133, 26.29)),
        ("SimVP + MogaNet", 15.6, 96.2, (131.4, 1512.1, 0.9442, 27.79)),
        ("SimVP + Poolformer", 12.4, 79.8, (153.4, 1613.5, 0.9334, 27.38)),
        ("SimVP + Swin", 15.3, 95.2, (155.2, 1588.9, 0.9299, 27.25)),
        ("SimVP + Uniformer", 11.8, 104, (135.9, 1534.2, 0.9393, 27.66)),
        ("SimVP + VAN", 14.9, 92.5, (127.5, 1476.5, 0.9462, 27.98)),
        ("SimVP + ViT", 12.7, 155, (146.4, 1615.8, 0.9379, 27.43)),
        (
            "TAU",
            15.0,
            92.5,
            (131.1, 1507.8, 0.9456, 27.83),
            "size counted from OpenSTL's config; its table prints 44.7M, 80.0G",
        ),
    ],
)

_MOVING_FASHION_MNIST = _table(
    dataset="moving_fashion_mnist",
    in_frames=10,
    out_frames=10,
    frame=(64, 64, 1),
    title="Moving Fashion-MNIST, 10 -> 10 frames",
    source="OpenSTL",
    recipe="200 epochs of 10,000 generated sequences, batch 16, Adam, OneCycle, OpenSTL's rates",
    settings={"train.epochs": 200, "train.batch_size": 16, "data.sequences_per_epoch": 10_000},
    train_sequences={},
    test_sequences={"OpenSTL": 10_000},
    metrics=("mse", "mae", "ssim", "psnr"),
    stlight=[],
    others=[
        ("ConvLSTM", 15.0, 56.8, (28.87, 113.20, 0.8793, 22.07)),
        ("PredRNN", 23.8, 116.0, (22.01, 91.74, 0.9091, 23.42)),
        ("PredRNN++", 38.6, 171.7, (21.71, 91.97, 0.9097, 23.45)),
        ("SimVP + ConvMixer", 3.9, 5.5, (31.21, 115.74, 0.8709, 21.71)),
        ("SimVP + ConvNeXt", 37.3, 14.1, (26.41, 102.56, 0.8908, 22.49)),
        ("SimVP + gSTA", 46.8, 16.5, (25.86, 101.22, 0.8933, 22.61)),
        ("SimVP + IncepU", 58.0, 19.4, (30.77, 113.94, 0.8740, 21.81)),
        ("SimVP + MogaNet", 46.8, 16.5, (25.14, 99.69, 0.8960, 22.73)),
        ("TAU", 44.7, 16.0, (24.24, 96.72, 0.8995, 22.87)),
    ],
)

_TABLES = (_MOVING_MNIST, _TAXIBJ, _KTH, _KITTI_CALTECH, _MOVING_FASHION_MNIST)
