"""Keys and sections: how a config key is declared once, with its default, range, choices and documentation."""

import dataclasses
import functools
import math
import numbers
import operator
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import ml_collections
from ml_collections import config_dict

from stlight_jax.errors import InputError

MISSING: Any = object()  # marks the absence of a value where None is one
_INTEGER_LIMIT = 2**31  # steps and sizes are int32 in compiled programs
_KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}


@dataclasses.dataclass(frozen=True)
class Key:
    """All facts of one config key.

    A key is one field of a `Section`. Its annotation has the facts beside type and default:

        stride: Annotated[int, Key("Frames from the start of one window to the next.", least=1)] = 1

    The attributes up to `absent` are given there; `Section.keys` adds the others from the field. A key without a default in its
    field, which must be given when the section is made, has its default for configs here.

    Attributes:
      help: One sentence for the reference page.
      least: The smallest value; None for no bound.
      above: A number that every value exceeds; None for no bound.
      below: A number that every value stays below; None for no bound, but whole numbers stay below 2**31.
      special: A value outside these bounds that is permitted, too; None for none.
      resumable: Whether a run may be resumed with another value, since the key does not affect the course of training.
      recipe: Whether the key belongs to a training recipe, so that results with another value are not as published.
      used_if: A key of the same section and its value; the key has no effect otherwise. None if it always has one.
      since: Version of stlight_jax that added the key.
      absent: The value that a config without the key stands for; MISSING if every config has the key.
      section: The section's name.
      name: The key's name in its section.
      type: `int`, `float`, `bool` or `str`.
      optional: Whether the value may also be None.
      choices: The only permitted values; empty for no restriction.
      default: The value in a new config.
    """

    help: str
    least: float | None = None
    above: float | None = None
    below: float | None = None
    special: float | None = None
    resumable: bool = False
    recipe: bool = False
    used_if: tuple[str, str] | None = None
    since: str = "0.1"
    absent: Any = MISSING
    section: str = ""
    name: str = ""
    type: type = str
    optional: bool = False
    choices: tuple[str, ...] = ()
    default: Any = MISSING

    @property
    def path(self) -> str:
        """The key as users write it, such as `train.batch_size`."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def range(self) -> str:
        """The permitted values in words, such as "-1, or at least 0 and less than 1"; empty for no restriction."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        bounds = (("at least", self.least), ("more than", self.above), ("less than", self.below))
        special = "" if self.special is None else f"{self.special}, or "
        return special + " and ".join(f"{words} {bound}" for words, bound in bounds if bound is not None)

    @property
    def permitted(self) -> str:
        """Type and permitted values in words, such as "int, at least 1"."""
        kind = self.type.__name__ + (" or None" if self.optional else "")
        return ", ".join(part for part in (kind, self.range) if part)

    @property
    def meaning(self) -> str:
        """The help text, the key without which this one has no effect, and the value that a config without it stands for."""
        text = self.help
        if self.used_if is not None:
            text += f" Only with {self.section}.{self.used_if[0]} = {self.used_if[1]}."
        if self.absent is not MISSING and self.absent != self.default:
            text += f" A config without this key stands for {self.absent!r}."
        return text

    def check(self, value: Any) -> None:
        """Checks a value.

        Args:
          value: The value of the key.

        Raises:
          InputError: The value has another type, or is outside the range or the choices. The message names the key, the value
            and the permitted values.
        """
        if value is None and self.optional:
            return
        if self.choices:
            if value not in self.choices:
                raise InputError(f"{self.path} is {value!r}; choose {self.range}")
            return
        if not self._has_type(value):
            raise InputError(f"{self.path} is {value!r}; it must be {_KINDS[self.type]}")
        if not self._is_in_range(value):
            raise InputError(f"{self.path} is {value}; it must be {self.range}")
        if self.type is int and self.below is None and value >= _INTEGER_LIMIT:
            raise InputError(f"{self.path} is {value}; it must be less than 2**31")

    def _has_type(self, value: Any) -> bool:
        accepted = {int: numbers.Integral, float: numbers.Real}.get(self.type, self.type)
        return isinstance(value, accepted) and (self.type is bool or not isinstance(value, bool))

    def _is_in_range(self, value: Any) -> bool:
        bounds = ((operator.ge, self.least), (operator.gt, self.above), (operator.lt, self.below))
        is_within = all(bound is None or (math.isfinite(value) and holds(value, bound)) for holds, bound in bounds)
        return is_within or value == self.special


class Section:
    """A section of the config: the base of frozen dataclasses whose fields are keys. It checks its values when it is made.

        @dataclasses.dataclass(frozen=True, kw_only=True)
        class TrainSection(Section, name="train"):

    Attributes:
      section_name: The section's name in a config.

    Raises:
      InputError: A value has the wrong type, or is outside its range or choices.
    """

    section_name: ClassVar[str] = ""
    __dataclass_fields__: ClassVar[dict[str, Any]]  # every section is a dataclass

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name:
            cls.section_name = name

    def __post_init__(self) -> None:
        for name, key in self.keys().items():
            key.check(getattr(self, name))

    @classmethod
    @functools.cache
    def keys(cls) -> dict[str, Key]:
        """Returns the section's keys by name, in the order of their declaration."""
        hints = typing.get_type_hints(cls, include_extras=True)
        return {
            field.name: _key(cls.section_name, field, hints[field.name])
            for field in dataclasses.fields(cls)
            if typing.get_origin(hints[field.name]) is Annotated
        }

    @classmethod
    def default_config(cls) -> ml_collections.ConfigDict:
        """Returns a new `ConfigDict` with every key at its default."""
        defaults = {name: key.default for name, key in cls.keys().items()}
        placeholders = {name: config_dict.placeholder(key.type) for name, key in cls.keys().items() if key.default is None}
        return ml_collections.ConfigDict(defaults | placeholders)

    @classmethod
    def from_config(cls, values: Mapping[str, Any] | None) -> Self:
        """Makes the section from its part of a config, which may be of an older version.

        Args:
          values: The value of each key. Keys that are newer than the config take the value that it stands for. None, for a
            config without this section, is permitted if all keys of the section are newer.

        Raises:
          InputError: The section or a key is missing, a key is unknown, or a value is not permitted.
        """
        keys = cls.keys()
        newer = {name: key.absent for name, key in keys.items() if key.absent is not MISSING}
        if values is None and newer.keys() == keys.keys():
            values = {}
        if not isinstance(values, Mapping):
            raise InputError(f"the config has no section {cls.section_name}")
        values = {**newer, **values}
        for problem, names in (("lacks", keys.keys() - values), ("has an unknown key,", values.keys() - keys)):
            if names:
                raise InputError(f"the config {problem} {', '.join(f'{cls.section_name}.{name}' for name in sorted(names))}")
        return cls(**values)


def _key(section: str, field: dataclasses.Field, hint: Any) -> Key:
    """Completes the `Key` in a field's annotation by the facts that the field has."""
    declared, key = typing.get_args(hint)
    choices: tuple[str, ...] = ()
    optional = isinstance(declared, types.UnionType)
    if optional:
        (declared,) = (kind for kind in typing.get_args(declared) if kind is not types.NoneType)
    if typing.get_origin(declared) is Literal:
        choices, declared = typing.get_args(declared), str
    default = key.default if field.default is dataclasses.MISSING else field.default
    return dataclasses.replace(
        key, section=section, name=field.name, type=declared, optional=optional, choices=choices, default=default
    )
