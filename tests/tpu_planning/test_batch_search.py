"""The search for the largest batch, on a made-up compiler."""

import dataclasses

import pytest

from stlight_jax.tpu_planning import tpu_table
from stlight_jax.tpu_planning.compile_report import largest_batch
from tests.tpu_planning.made_up_compiler import made_up


# The sequences have 15 GiB. From 8 on the search is in steps of 8.
@pytest.mark.parametrize(
    ("per_sequence", "true"), [(0.01, 1496), (0.09, 160), (0.35, 40), (1.0, 8), (2.1, 7), (8.0, 1), (15.1, 0)]
)
@pytest.mark.parametrize("start", [8, 16, 64])
def test_the_search_finds_the_largest_batch(per_sequence, true, start):
    asked = []

    def compiled_at(batch):
        asked.append(batch)
        return made_up(batch, per_sequence)

    found = largest_batch(compiled_at, 16 * 2**30, start, 8, limit=12)
    assert len(asked) == len(set(asked)) <= 8
    assert found.fits <= true < found.too_large
    assert found.too_large - found.fits <= (max(8, found.fits // 8) if true >= 8 else 1)
    assert all(batch % 8 == 0 for batch in asked if batch > 8)


def test_the_search_below_a_step_keeps_to_batches_that_can_be_accumulated():
    asked = []

    def compiled_at(batch):
        asked.append(batch)
        return made_up(batch, 2.1)

    found = largest_batch(compiled_at, 16 * 2**30, 24, 24, limit=8, fine=3)
    assert (found.fits, found.too_large) == (6, 9)  # 7 would fit
    assert all(batch % 3 == 0 for batch in asked)


def test_a_search_that_reaches_its_limit_reports_what_it_tried():
    found = largest_batch(made_up, 16 * 2**30, 8, 8, limit=1)
    assert (found.fits, found.too_large) == (8, None)
    text = tpu_table.search_text({"topology": "v5e:1x1", **dataclasses.asdict(found)})
    assert text == "Largest batch per chip of training on v5e:1x1: 8 fits (8: 9.00 GiB).\n"
