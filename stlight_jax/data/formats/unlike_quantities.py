"""Sequences of one call that hold different quantities, or one quantity in different units."""

import dataclasses
import re
from collections.abc import Sequence

from stlight_jax.data.formats.types import FrameSource
from stlight_jax.errors import InputError

_SPELLINGS = {
    "K": ("kelvin", "degk", "deg_k", "degree_kelvin", "degrees_kelvin"),
    "degC": ("°c", "c", "celsius", "degc", "deg_c", "degree_celsius", "degrees_celsius", "degree_c", "degrees_c"),
}
_CANONICAL = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}


def check_quantities(sources: Sequence[FrameSource]) -> list[FrameSource]:
    """Returns the sequences; the first one has a remark if others hold another quantity.

    Args:
      sources: all sequences of a call.

    Raises:
      InputError: one variable has different units.
    """
    named = [source for source in sources if _units(source)]
    for source in named:
        first = next(other for other in named if _variable(other) == _variable(source))
        if _units(first) != _units(source):
            raise InputError(
                f"{source.name} has units {source.info.meaning[0]!r}, {first.name} {first.info.meaning[0]!r}; expected one "
                "unit for a variable; convert one of them, or correct its attribute units, or give the files of one unit only"
            )
    described = [source for source in sources if source.info.array is not None and source.info.array.dims]
    for source in described[1:]:
        if _variable(source) != _variable(described[0]):
            pair = " and ".join(f"{each.name} ({each.info.meaning[0] or 'no units'})" for each in (described[0], source))
            remark = f"{pair} are different variables; one network sees both; --config.data.variable=NAME chooses one"
            return [dataclasses.replace(sources[0], remarks=(*sources[0].remarks, remark)), *sources[1:]]
    return list(sources)


def common_units(sources: Sequence[FrameSource]) -> str:
    """Returns the units of sequences as their files name them; "" if they name none, several or "1"."""
    first, *others = {source.info.meaning[0].strip() if source.info.meaning else "" for source in sources}
    return "" if others or first == "1" else first


def remark_on_units(found: str, trained: str) -> str:
    """Compares the units of frames with those of the training data.

    Args:
      found: of the frames; "" if unknown.
      trained: of the training data; "" if unknown.

    Returns:
      A warning that names both; "" if they are the same, or one is unknown.
    """
    if not found or not trained or _canonical(found) == _canonical(trained):
        return ""
    return (
        f"the frames have units {found!r}, and the network was trained on {trained!r}; convert the frames, or correct their "
        "attribute units; the prediction may be meaningless"
    )


def _variable(source: FrameSource) -> str:
    """Returns the standard name, or else the array's name without numbers."""
    name = source.info.meaning[1] if len(source.info.meaning) > 1 else ""
    return name or re.sub("[0-9]+", "#", source.info.key)


def _units(source: FrameSource) -> str:
    """Returns the units in one spelling."""
    return _canonical(source.info.meaning[0] if source.info.meaning else "")


def _canonical(text: str) -> str:
    """Returns units in one spelling: "mm/h", "mm h**-1" and "mm h^-1" are "mm h-1"."""
    text = re.sub(r"\s*/\s*([A-Za-z]+)", r" \1-1", re.sub(r"\*\*|\^", "", text.strip()))
    return _CANONICAL.get(text.lower(), re.sub(r"\bhr\b", "h", " ".join(text.split())))
