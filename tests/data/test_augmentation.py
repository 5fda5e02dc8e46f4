"""Crops and flips: the same in all frames of a sequence, a function of (seed, epoch, index), and evenly spread."""

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.augmentation import AugmentedSequences
from stlight_jax.data.scaling import Scaling

HEIGHT, WIDTH = 12, 9
# Every pixel says where it is, and every frame which one it is.
PIXELS = np.arange(HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
SEQUENCES = np.arange(600)[:, None, None, None] * 1e4 + PIXELS + np.arange(3)[None, :, None, None] * 1e3


class Whole:
    scaling = Scaling("float32", (0.0,), (1.0,))
    description = {"name": "places"}  # noqa: RUF012
    shape = (3, HEIGHT, WIDTH, 1)

    def __len__(self):
        return len(SEQUENCES)

    def frames(self, indices, epoch=0):
        return SEQUENCES[indices, ..., None]


def places(frames, index):
    """Undoes what `SEQUENCES` adds; all three frames must be of the same place."""
    found = frames[..., 0] - index * 1e4 - np.arange(3)[:, None, None] * 1e3
    assert (found == found[0]).all()
    return found[0].astype(int)


@pytest.mark.parametrize("flips", [False, True])
def test_crops_lie_everywhere_and_in_every_orientation(flips):
    augmented = AugmentedSequences(Whole(), 6, flips, seed=3)
    assert augmented.shape == (3, 6, 6, 1)
    seen = []
    for index, frames in enumerate(augmented.frames(np.arange(600), 2)):
        cut = places(frames, index)
        rows, columns = cut // WIDTH, cut % WIDTH
        up, left = rows[1, 0] < rows[0, 0], columns[0, 1] < columns[0, 0]
        upright = cut[:: -1 if up else 1, :: -1 if left else 1]
        top, first = upright[0, 0] // WIDTH, upright[0, 0] % WIDTH
        np.testing.assert_array_equal(upright, PIXELS[top : top + 6, first : first + 6])
        seen.append((top, first, up, left))
    assert {row[0] for row in seen} == set(range(7))
    assert {row[1] for row in seen} == set(range(4))
    turned = np.array([row[2:] for row in seen])
    if flips:
        # 600 coins: six standard deviations are 73.
        assert (abs(turned.sum(0) - 300) < 73).all()
        assert abs((turned[:, 0] & turned[:, 1]).sum() - 150) < 64
    else:
        assert not turned.any()


def test_a_sequence_depends_on_seed_epoch_and_index_alone():
    augmented = AugmentedSequences(Whole(), 6, True, seed=3)
    whole = augmented.frames(np.arange(40), 5)
    np.testing.assert_array_equal(augmented.frames(np.arange(17, 29), 5), whole[17:29])
    np.testing.assert_array_equal(AugmentedSequences(Whole(), 6, True, seed=3).frames(np.array([7]), 5), whole[7:8])
    assert not np.array_equal(augmented.frames(np.arange(40), 6), whole)
    assert not np.array_equal(AugmentedSequences(Whole(), 6, True, seed=4).frames(np.arange(40), 5), whole)


def test_without_a_crop_frames_stay_whole():
    np.testing.assert_array_equal(AugmentedSequences(Whole(), 0, False, 0).frames(np.arange(5)), SEQUENCES[:5, ..., None])
    with pytest.raises(InputError, match="data.crop is 10, but frames are 12 x 9 pixels"):
        AugmentedSequences(Whole(), 10, False, 0)
