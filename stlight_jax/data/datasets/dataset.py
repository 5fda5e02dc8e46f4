"""The interface of a data set: one object with its names, its config keys, its files and its published results."""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

from etils import epath, epy

from stlight_jax.config.schema import Section
from stlight_jax.data.covariates import Covariates
from stlight_jax.data.datasets.published_tables import PublishedTable
from stlight_jax.data.pipeline import MAX_PARALLEL_BATCHES
from stlight_jax.data.raw_clips import ClipReader
from stlight_jax.data.sequences import Sequences
from stlight_jax.data.window_choice import WindowLengths
from stlight_jax.errors import InputError

with epy.lazy_imports():
    from stlight_jax.data import prepare as preparation

MORE_CORES = f"give each process more cores (fewer processes per host; up to {MAX_PARALLEL_BATCHES} make batches)"


class Dataset(abc.ABC):
    """A data set.

    A subclass is one file of `stlight_jax.data.datasets`, and its instance one line in `all_datasets`.

    Attributes:
      name: as in a config's key `dataset`.
      title: name of the data set in tables and messages.
      channels: name of each channel; empty if they are only known by number.
      section: the keys of the config's section `data`.
      published: tables of published results.
      published_remark: a sentence about further results in the tables' sources.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    channels: ClassVar[tuple[str, ...]] = ()
    section: ClassVar[type[Section]]
    published: ClassVar[tuple[PublishedTable, ...]] = ()
    published_remark: ClassVar[str] = ""

    @abc.abstractmethod
    def frame_size(self, section: Any) -> tuple[int, int] | None:
        """Returns (height, width) of the frames, as far as it is known without the data.

        Args:
          section: the config's section `data`.

        Returns:
          Pixels; None if only the data show the size.
        """

    @abc.abstractmethod
    def open_training(self, section: Any, length: int, validation_length: int, seed: int) -> tuple[Sequences, Sequences]:
        """Opens the training and the validation sequences.

        Args:
          section: the config's section `data`.
          length: frames per training sequence, T + horizon.
          validation_length: frames per validation sequence.
          seed: of the training data's order.

        Returns:
          Training sequences and validation sequences.

        Raises:
          InputError: data are missing, not prepared or not as expected.
        """

    @abc.abstractmethod
    def open_test(self, section: Any, length: int) -> Sequences:
        """Opens the test sequences.

        Args:
          section: the config's section `data`.
          length: frames per sequence, T + horizon.

        Returns:
          The sequences.

        Raises:
          InputError: data are missing, not prepared or not as expected.
        """

    def covariates(self, section: Any) -> Covariates | None:
        """Opens the covariates that the network sees beside the data's channels.

        Args:
          section: the config's section `data`.

        Returns:
          The covariates; None if there are none.

        Raises:
          InputError: data are missing or not as expected.
        """
        del section
        return None

    def choose_windows(self, section: Any, lengths: Sequence[WindowLengths]) -> tuple[int, Any]:
        """Chooses the lengths of windows and the keys of the section that a config leaves to the data.

        Args:
          section: the config's section `data`.
          lengths: possible lengths of windows, the preferred ones first.

        Returns:
          The index of the lengths, and the section without open keys.

        Raises:
          InputError: data are missing or not as expected.
        """
        del lengths
        return 0, section

    def channel_names(self, count: int) -> list[str]:
        """Names the channels of the data.

        Args:
          count: number of channels.

        Returns:
          The names, in order; "channel 1" and so on if the data set has no names.
        """
        return list(self.channels) or [f"channel {number + 1}" for number in range(count)]

    def advice_on_slow_data(self, section: Any) -> str:
        """Returns advice, on one line, for a user whose batches take too long to read.

        Args:
          section: the config's section `data`.

        Returns:
          The advice, which names config keys.
        """
        return (
            f"a split of more than data.memory ({section.memory} MiB) is read from disk; raise it if the host's memory allows, "
            f"put the prepared data on a faster disk, or {MORE_CORES}"
        )

    def prepare(self, raw: epath.Path, out: epath.Path, section: Any | None) -> str:
        """Prepares the data set from its raw files, unless that is done.

        Args:
          raw: folder with the raw files, or for own frames also one file.
          out: folder for the prepared data, local or remote.
          section: a config's section `data`, if the user gave one.

        Returns:
          A sentence about the prepared data and their use.

        Raises:
          InputError: the data set is not prepared, the files are not as expected, or `out` cannot be written.
        """
        if not isinstance(self, ClipReader):
            raise InputError(f"{self.name} needs no preparation; training draws its sequences from the files in data.root")
        if not raw.is_dir():
            raise InputError(f"--raw={raw} is a file; expected the folder with the raw files of {self.name}")
        folder = preparation.prepare(lambda: self, raw, out)
        return f"prepared in {folder}; --config.data.root={out} finds it"

    def published_table(self, in_frames: int, out_frames: int) -> PublishedTable | None:
        """Finds the published results for some numbers of frames.

        Args:
          in_frames: T.
          out_frames: T'.

        Returns:
          The table; None if no comparable results are published.
        """
        fitting = (table for table in self.published if (table.in_frames, table.out_frames) == (in_frames, out_frames))
        return next(fitting, None)
