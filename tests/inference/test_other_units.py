"""The scaling of frames in other units than the training's."""

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.scaling import Scaling
from stlight_jax.inference.other_units import in_other_units


def test_bounds_of_the_output_are_converted():
    """12 degrees Celsius are 53.6 degrees Fahrenheit."""
    scaling = Scaling("float32", (10.0,), (20.0,), clip_low=(12.0,), clip_high=(None,))
    prediction = np.array([[-5.0], [0.1], [0.5], [7.0]], np.float32)
    fahrenheit = in_other_units(scaling, (50.0, 68.0))
    np.testing.assert_allclose(fahrenheit.output_in_units(prediction)[:, 0], [53.6, 53.6, 59, 176], rtol=1e-6)


def test_transformed_values_have_no_other_units():
    with pytest.raises(InputError, match="leave value_range out"):
        in_other_units(Scaling("float32", (0.0,), (9.0,), transform="sqrt"), (0.0, 1.0))
