"""Predictions far outside the trained range are counted, and named once."""

import numpy as np

from stlight_jax.data.scaling import Scaling
from stlight_jax.inference.output_range import OutputRange


def test_values_further_than_half_the_range_beyond_its_ends_count():
    output = OutputRange(Scaling("float32", (270.0,), (290.0,)), channels=2)
    output.add(np.array([[260.0, 300.0], [np.nan, 280.0]]))
    assert output.far == 0
    assert output.remarks() == []
    output.add(np.array([[259.9, 300.1], [-16571.0, np.nan]]))
    assert output.far == 3
    (remark,) = output.remarks()
    assert remark.startswith(
        "3 of 6 predicted values (50 %) are far outside 270 to 290, the range of the training data; the lowest is -16571, the "
        "highest 300.1; check units"
    )


def test_channels_with_ranges_of_their_own_count_for_themselves():
    output = OutputRange(Scaling("float32", (0.0, 0.0, 5.0), (1.0, 100.0, 5.0)), channels=2)
    output.add(np.full((4, 2), [140.0, 151.0]))
    first, second = output.remarks()
    assert first.startswith("4 of 4 predicted values of channel 1 (100 %) are far outside 0 to 1,")
    assert second.startswith("4 of 4 predicted values of channel 2 (100 %) are far outside 0 to 100,")
