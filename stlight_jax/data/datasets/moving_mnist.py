"""Moving MNIST: two handwritten digits that move and bounce, drawn as training goes; OpenSTL's published test set."""

import dataclasses
from typing import Annotated, ClassVar, Literal

import numpy as np
from etils import epath

from stlight_jax.config.schema import Key, Section
from stlight_jax.data.datasets.dataset import MORE_CORES, Dataset
from stlight_jax.data.datasets.published_tables import make_table
from stlight_jax.data.digits import DIGIT_SIDE, MNIST, Digits, ImageSource, Source, find_optional_file, load_digits
from stlight_jax.data.formats.npy import memory_map
from stlight_jax.data.moving_images import PUBLISHED_SHAPE, GeneratedSequences, PublishedSequences
from stlight_jax.data.prepared import find_tfds_builder
from stlight_jax.data.sequences import Sequences
from stlight_jax.errors import InputError

# The validation and test sets are fixed: they do not depend on the training seed.
_FIXED_SEED = 20241115


@dataclasses.dataclass(frozen=True, kw_only=True)
class MovingImagesSection(Section, name="data"):
    """Section `data` of Moving MNIST and Moving Fashion-MNIST."""

    root: Annotated[
        str,
        Key(
            "Folder with the idx files and, if present, the published test set; empty for the embedded digits.", resumable=True
        ),
    ] = ""
    digits: Annotated[
        Source,
        Key("Source of the images; auto takes the idx files if data.root is given.", resumable=True),
    ] = "auto"
    image_size: Annotated[int, Key("Height and width of a frame in pixels.", least=1)] = 64
    digit_size: Annotated[int, Key("Height and width of a digit in pixels: 28, 14 or 7.")] = DIGIT_SIDE
    sequences_per_epoch: Annotated[int, Key("Training sequences in an epoch.", least=1, recipe=True)] = 10_000
    validation: Annotated[
        Literal["generated", "openstl"],
        Key("Validation on sequences of training digits, or on the test set, as in OpenSTL.", absent="generated"),
    ] = "generated"
    validation_sequences: Annotated[int, Key("Validation sequences, if generated.", least=1)] = 1_000
    test_sequences: Annotated[int, Key("Test sequences, if the published test set is not found.", least=1)] = 10_000


class MovingMnist(Dataset):
    """Moving MNIST.

    Attributes:
      images: the images that move.
      test_file: name of the published test set.
      test_dtypes: kinds of values, as in NumPy's `dtype.kind`, that the published test set can have.
    """

    name = "moving_mnist"
    title = "Moving MNIST"
    channels = ("intensity",)
    section = MovingImagesSection
    images: ClassVar[ImageSource] = MNIST
    test_file: ClassVar[str] = "mnist_test_seq.npy"
    test_dtypes: ClassVar[str] = "u"
    published = (
        make_table(
            in_frames=10,
            out_frames=10,
            frame=(64, 64, 1),
            title="Moving MNIST, 10 -> 10 frames",
            source="STLight paper, table 3",
            recipe="200 epochs of 10,000 generated sequences, batch 16, Adam, OneCycle to 0.003 (others: OpenSTL's rates)",
            settings={
                "train.epochs": 200,
                "train.batch_size": 16,
                "optimizer.learning_rate": 3e-3,
                "data.sequences_per_epoch": 10_000,
            },
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
        ),
    )

    def frame_size(self, section: MovingImagesSection) -> tuple[int, int]:
        """Returns (height, width) of the canvas."""
        return section.image_size, section.image_size

    def advice_on_slow_data(self, section: MovingImagesSection) -> str:
        """Returns advice for sequences that are drawn on the host."""
        return f"sequences are made on the host as training goes; {MORE_CORES}"

    def open_training(
        self, section: MovingImagesSection, length: int, validation_length: int, seed: int
    ) -> tuple[Sequences, Sequences]:
        """Opens sequences of training digits; the validation set is fixed. See `Dataset`."""
        digits = self._load_digits(section, "train")
        training = self._generate(section, digits, "train", section.sequences_per_epoch, length, seed)
        if section.validation == "openstl":
            return training, self.open_test(section, validation_length)
        return training, self._generate(section, digits, "validation", section.validation_sequences, validation_length)

    def open_test(self, section: MovingImagesSection, length: int) -> Sequences:
        """Opens the published test set if it is found and has such frames, else a fixed set of unseen digits; see `Dataset`."""
        published = self._open_published(section, length)
        if published is not None:
            return published
        return self._generate(section, self._load_digits(section, "test"), "test", section.test_sequences, length)

    def _load_digits(self, section: MovingImagesSection, split: Literal["train", "test"]) -> Digits:
        return load_digits(split, section.digits, section.root, self.images).resized(section.digit_size)

    def _generate(
        self,
        section: MovingImagesSection,
        digits: Digits,
        split: str,
        count: int,
        length: int,
        seed: int = _FIXED_SEED,
    ) -> GeneratedSequences:
        return GeneratedSequences(digits, count, seed, split, length, section.image_size, self.title)

    def _open_published(self, section: MovingImagesSection, length: int) -> PublishedSequences | None:
        """Returns the published test set, None if it is not found or has other frames than the model's."""
        published_length, _, side, _ = PUBLISHED_SHAPE
        if (section.image_size, section.digit_size, length) != (side, DIGIT_SIDE, published_length):
            return None
        if section.root:
            path = find_optional_file(section.root, (self.test_file,), self.images.folder)
            if path is not None:
                return PublishedSequences(self.read_published(path), path.name, self.title)
        if section.digits == "tfds" and not self.images.idx_only:
            return _open_published_in_tfds(section.root)
        return None

    def read_published(self, path: epath.Path) -> np.ndarray:
        """Memory-maps the published test set.

        Args:
          path: the file.

        Returns:
          uint8 `[20, 10000, 64, 64]`, or floats of the same whole numbers if `test_dtypes` permits them.

        Raises:
          InputError: the file contains something else.
        """
        expectation = f"expected a .npy array uint8 {list(PUBLISHED_SHAPE)}"
        array = memory_map(path, expectation)
        is_float = array.dtype.kind == "f" and "f" in self.test_dtypes
        if array.shape != PUBLISHED_SHAPE or not (array.dtype == np.uint8 or is_float):
            raise InputError(f"{path}: {expectation}, found {array.dtype} {list(array.shape)}")
        if is_float:
            first = array[:, 0]
            if not ((first == np.rint(first)) & (first >= 0) & (first <= 255)).all() or first.max() <= 1:
                raise InputError(f"{path}: {expectation}, found {array.dtype} that are not the whole numbers 0 to 255")
        return array


def _open_published_in_tfds(root: str) -> PublishedSequences | None:
    """Returns the published test set as TFDS prepares it, None if it is not prepared."""
    builder = find_tfds_builder("moving_mnist", root)
    if builder is None:
        return None
    examples = builder.as_dataset(split="test").as_numpy_iterator()
    sequences = np.stack([example["image_sequence"][..., 0] for example in examples])  # [n, t, h, w]
    sequences = sequences.swapaxes(0, 1)  # [t, n, h, w]
    if sequences.shape != PUBLISHED_SHAPE:
        raise InputError(
            f"TFDS moving_mnist in {root or 'its default folder'}: expected frames {list(PUBLISHED_SHAPE)} "
            f"(time first), found {list(sequences.shape)}; prepare it anew"
        )
    return PublishedSequences(sequences, "TFDS moving_mnist")
