"""A trained network in memory, with all that prediction needs; `trained` loads one and `export` makes one.

This module imports no JAX, without which an ONNX file is run.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from etils import epath, epy

from stlight_jax.data.scaling import Scaling
from stlight_jax.errors import InputError
from stlight_jax.model.stlight_config import STLightConfig
from stlight_jax.version import __version__

with epy.lazy_imports():
    import jax
    from flax import traverse_util

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class ExportedProgram:
    """A program of a network, serialised by `jax.export`.

    Attributes:
      content: The serialised program.
      created: Date of the export, in ISO 8601.
      expires: Date until which JAX guarantees to read it.
      jax: Version of JAX that made it.
      platforms: Platforms that it runs on, such as "cpu".
    """

    content: bytes
    created: str
    expires: str
    jax: str
    platforms: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class OnnxProgram:
    """A program of a network for ONNX Runtime, with its weights.

    Attributes:
      content: A serialised ONNX model that maps the network's input to its output, see `onnx_file`.
    """

    content: bytes


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A network and the description of its training.

    Attributes:
      config: The network's sizes.
      variables: {"params", "batch_stats"}, NumPy or JAX arrays; {} with an `OnnxProgram`.
      description: The checkpoint's description: "config", "data", "scaling", "frame_size", "channels" and more, as far as they
        are known.
      source: Where the network was loaded from, for messages.
      program: The exported program; None unless the model was exported.
    """

    config: STLightConfig
    variables: dict[str, Any]
    description: dict[str, Any]
    source: str = ""
    program: ExportedProgram | OnnxProgram | None = None

    @functools.cached_property
    def scaling(self) -> Scaling:
        """From values in the data's units to the network's range."""
        if "scaling" in self.description:
            return Scaling.from_json(self.description["scaling"])
        # Weights from elsewhere have a value range only, or not even that.
        low, high = self.description.get("value_range", {"stored": (0, 255)})["stored"]
        low, high = (tuple(value) if isinstance(value, list) else (float(value),) for value in (low, high))
        return Scaling("uint8" if (low, high) == ((0.0,), (255.0,)) else "float32", low, high)

    @property
    def data_scaling(self) -> Scaling:
        """The scaling of the network's data, without its covariates; integers of the data may have a fill value."""
        scaling, stored = self.scaling, self.description.get("covariates")
        fill = scaling.fill_in_data
        if stored is not None:
            scaling = scaling.for_channels(len(scaling.filling) - scaling.covariates)
            fill = stored["fill"] if fill is None else fill
        return scaling if fill == scaling.fill else dataclasses.replace(scaling, fill=fill)

    def without_program(self) -> TrainedModel:
        """Returns the same weights, to be run by this package's network.

        Raises:
          InputError: The weights do not fit the network.
        """
        model = dataclasses.replace(self, program=None, config=dataclasses.replace(self.config, depthwise="auto"))
        check_variables(model.source, model.config, traverse_util.flatten_dict(model.variables, sep="/"))
        return model


def described_network(path: epath.PathLike, content: dict[str, Any]) -> STLightConfig:
    """Returns the network that a file describes.

    Args:
      path: The file, for messages.
      content: "format", "model" and maybe the version "stlight_jax" that wrote it.

    Raises:
      InputError: A newer version wrote the file, or it is damaged.
    """
    if content["format"] != FORMAT:
        raise InputError(
            f"{path} has format {content['format']}, written by stlight_jax {content.get('stlight_jax', '?')}; this is "
            f"{__version__}, which reads format {FORMAT}: install a newer stlight_jax, or export the model again"
        )
    unknown = sorted(content["model"].keys() - {field.name for field in dataclasses.fields(STLightConfig)})
    if unknown:
        raise InputError(f"{path} has unknown model keys ({', '.join(unknown)}); install a newer stlight_jax")
    try:
        return STLightConfig(**content["model"])
    except InputError as error:
        raise InputError(f"{path}: {error}; the file is damaged, or from a newer stlight_jax") from None


def abstract_variables(config: STLightConfig) -> dict[str, Any]:
    """Returns shapes and types of a network's variables."""
    from stlight_jax.model.stlight import STLight, init_variables

    side = config.patch_size
    return jax.eval_shape(functools.partial(init_variables, STLight(config), 0, (side, side, config.in_channels)))


def check_variables(source: str, config: STLightConfig, found: dict[str, Any]) -> None:
    """Compares names, shapes and types of weights, or of arrays that stand for them, with those of a network."""
    wanted = traverse_util.flatten_dict(abstract_variables(config), sep="/")
    for name in sorted(wanted.keys() | found.keys()):
        expected, actual = (f"{of[name].dtype} {list(of[name].shape)}" if name in of else "nothing" for of in (wanted, found))
        if expected != actual:
            raise InputError(f"{source} is damaged: {name} should be {expected}, it is {actual}")
