"""Names of slices; no libtpu needed."""

import pytest

from stlight_jax import InputError
from stlight_jax.tpu_planning.chips import slice_by_name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v9:2x2", "--topology=v9:2x2: expected CHIP:LAYOUT, .* chips v4, v5e, v5p, v6e"),
        ("v5e", "--topology=v5e: expected CHIP:LAYOUT"),
        ("v5e:4x0", "expected CHIP:LAYOUT"),
        ("v4:2x2", "--topology=v4:2x2: a v4 slice has 3 dimensions, such as v4:2x2x1"),
    ],
)
def test_topologies_that_are_none(name, message):
    with pytest.raises(InputError, match=message):
        slice_by_name(name)
