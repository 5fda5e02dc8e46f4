"""Nonlinear transforms of non-negative data with few large values, such as rain rates and counts, and their inverses.

| name | transform of a value x | least x that differs from its neighbours |
|---|---|---|
| `log` | log(x + offset), the natural logarithm | the floor |
| `sqrt` | sqrt(x) | 0 |
| `dbz` | 10 log10(200 x^1.6), the radar reflectivity of a rain rate in mm/h (Marshall and Palmer 1948) | 0 dBZ, 0.0365 mm/h |

Values below become that least value. The inverse has no values below 0, and gives 0 for reflectivities of at most 0 dBZ. NaN
stays NaN.
"""

from typing import Any, Literal, get_args

import numpy as np
from etils import epy

with epy.lazy_imports():
    import jax.numpy as jnp

TransformName = Literal["none", "log", "sqrt", "dbz"]
TRANSFORMS: tuple[TransformName, ...] = get_args(TransformName)
DECIBELS = 16.0  # 10 * 1.6, per factor 10 of the rain rate
DRY = 200 ** (-1 / 1.6)  # rain rate of 0 dBZ


def transformed(name: TransformName, values: Any, offset: np.ndarray, floor: np.ndarray) -> Any:
    """Transforms values.

    Args:
      name: of the transform.
      values: float `[..., c]` in the data's units, a NumPy or a JAX array.
      offset: of `log`, one value or one per channel.
      floor: least value of `log` and `sqrt`, one value or one per channel.

    Returns:
      The transformed values, of the same type.
    """
    if name == "none":
        return values
    xp: Any = np if isinstance(values, np.ndarray) else jnp
    if name == "dbz":
        return DECIBELS * xp.log10(xp.maximum(values, DRY) / DRY)
    values = xp.maximum(values, floor.astype(values.dtype))
    return xp.sqrt(values) if name == "sqrt" else xp.log(values + offset.astype(values.dtype))


def restored(name: TransformName, values: Any, offset: np.ndarray) -> Any:
    """Inverts `transformed`.

    Args:
      name: of the transform.
      values: float `[..., c]`, transformed values or predictions of them, a NumPy or a JAX array.
      offset: as for `transformed`.

    Returns:
      Values in the data's units, at least 0.
    """
    if name == "none":
        return values
    xp: Any = np if isinstance(values, np.ndarray) else jnp
    if name == "dbz":
        return xp.where(values <= 0, 0, DRY * 10 ** (values / DECIBELS)).astype(values.dtype)
    if name == "sqrt":
        return xp.square(xp.maximum(values, 0))
    return xp.maximum(xp.exp(values) - offset.astype(values.dtype), 0)
