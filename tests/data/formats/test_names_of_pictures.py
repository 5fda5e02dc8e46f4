"""Times and numbers in the names of pictures."""

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.frame_files import open_one, read_frames


def named(folder, names):
    folder.mkdir(exist_ok=True)
    for level, name in enumerate(names):
        Image.fromarray(np.full((4, 4), level, np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize(
    "pattern",
    ["rain_{:%Y%m%d%H%M}", "{:%Y%m%d_%H%M}", "{:%Y-%m-%dT%H-%M}", "{:%Y%m%d%H%M%S}", "cam1-{:%Y_%m_%d_%H_%M_%S}",
     "Screenshot {:%Y-%m-%d at %H.%M.%S}", "{:%Y%m%dT%H%M%SZ}"],
)  # fmt: skip
def test_times_in_names_are_times(tmp_path, pattern):
    moments = np.datetime64("2026-06-01T23:50", "us") + np.array([0, 5, 10, 30]) * np.timedelta64(1, "m")
    sequence = open_one(named(tmp_path / "clip", [pattern.format(moment) for moment in moments.tolist()]))
    assert sequence.ticks.tolist() == [0, 1, 2, 6]
    assert sequence.step == "5 min"
    assert np.array_equal(sequence.times.values, moments.astype(np.int64))
    assert read_frames(sequence)[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert any("--config.data.time=none ignores them" in remark for remark in sequence.remarks)
    assert open_one(tmp_path / "clip", time="none").ticks is None


def test_the_order_is_that_of_the_times(tmp_path):
    folder = named(tmp_path / "clip", ["b_202606011200", "a_202606011210", "a_202606011205"])
    assert read_frames(open_one(folder))[:, 0, 0, 0].tolist() == [0, 2, 1]
    assert read_frames(open_one(folder, time="none"))[:, 0, 0, 0].tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    "names",
    [
        ["20260601", "20260602", "20260603"],  # no time of day
        ["2026060100", "2026060101", "2026060102"],
        ["run202606010000_202606011205", "run202606010000_202606011210", "run202606010000_202606011215"],  # two times
        ["202606011205", "202606011210", "last"],
        ["202606011205", "202606011210", "202606011260"],  # no time
        ["frame000000001", "frame000000002", "frame000000003"],
        ["202606011205", "202606011210", "20260601121500"],  # other precision
        ["2026-06-01 at 11.05.30 AM", "2026-06-01 at 12.05.30 PM", "2026-06-01 at 13.05.30 PM"],
    ],
)
def test_other_names_are_in_natural_order(tmp_path, names):
    sequence = open_one(named(tmp_path / "clip", names))
    assert (sequence.ticks, sequence.remarks) == (None, ())
    assert read_frames(sequence)[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_repeated_times_are_ignored_with_a_remark(tmp_path):
    sequence = open_one(named(tmp_path / "clip", ["a_202606011205", "b_202606011205", "b_202606011210"]))
    assert sequence.ticks is None
    assert any("occur more than once" in remark for remark in sequence.remarks)


@pytest.mark.parametrize(
    ("names", "hours"),
    [
        (["20260601T1205+0200", "20260601T1305+0200", "20260601T1405+0200"], [10, 11, 12]),
        (["20260601_1205-0001", "20260601_1305-0002", "20260601_1405-0003"], [12, 13, 14]),  # numbers behind a dash
        (["20260601T1205-0500", "20260601T1305-0500", "20260601T1405-0500"], [17, 18, 19]),
        (["2026-06-01T12-05-00+02-00", "2026-06-01T13-05-00+02-00", "2026-06-01T14-05-00+02-00"], [10, 11, 12]),
        (["202606011205 UTC+2", "202606011305 UTC+2", "202606011405 UTC+2"], [10, 11, 12]),
        (["20260601T1205+0100", "20260601T1405+0200", "20260601T1405+0100"], [11, 12, 13]),  # clocks are changed
        (["20260601T1205Z", "20260601T1305Z", "20260601T1405Z"], [12, 13, 14]),
    ],
)
def test_offsets_from_utc_in_names_are_obeyed(tmp_path, names, hours):
    sequence = open_one(named(tmp_path / "clip", names))
    expected = np.datetime64("2026-06-01T00:05", "us") + np.array(hours) * np.timedelta64(1, "h")
    assert np.array_equal(sequence.times.values.astype("M8[us]"), expected)
    assert sequence.ticks.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "names",
    [
        ["20261025T0230+0200", "20261025T0245", "20261025T0300"],  # one with an offset
        ["20261025T0130CEST", "20261025T0230CEST", "20261025T0330CET"],  # zones that differ
    ],
)
def test_times_of_different_zones_are_no_times(tmp_path, names):
    assert open_one(named(tmp_path / "clip", names)).times is None


@pytest.mark.parametrize(
    ("names", "ticks"),
    [
        (["frame_0001", "frame_0002", "frame_0004"], [0, 1, 3]),
        (["f0", "f10", "f20", "f40"], [0, 1, 2, 4]),
        (["t0.0", "t0.5", "t1.0", "t10.0"], [0, 1, 2, 20]),
        (["t0.25", "t0.5", "t0.75", "t1", "t2"], [0, 1, 2, 3, 7]),  # with and without decimals
        (["20260629", "20260630", "20260701", "20260703"], [0, 1, 2, 4]),  # days
        (["20260129", "20260130", "20260201", "20260202"], [0, 1, 3, 4]),  # without the last day of the month
        (["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-03"], [0, 1, 2, 4]),
        (["2026060122", "2026060123", "2026060200", "2026060203"], [0, 1, 2, 5]),  # hours
        (["202611", "202612", "202701", "202704"], [0, 1, 2, 5]),  # months
        (["A2026364", "A2026365", "A2027001", "A2027009"], [0, 1, 2, 10]),  # days of the year
        (["rain_1250", "rain_1255", "rain_1300", "rain_1310"], [0, 1, 2, 4]),  # times of a day
        (["rain_125858", "rain_125859", "rain_125900", "rain_125902"], [0, 1, 2, 4]),
        (["s1_001", "s1_002", "s1_004"], [0, 1, 3]),
        (["0098", "0099", "0100", "0101"], None),
        (["f0", "f2", "f5", "f7", "f10", "f12"], None),  # every 2.5 frames
        (["1.8", "1.9", "1.10", "1.11"], None),  # the tenth of 1
        (["1403636579763555584", "1403636579813556584", "1403636579863554584", "1403636579963555584"], [0, 1, 2, 4]),  # ns
        (["f1", "f2", "g4"], None),
        (["cam1_1", "cam1_2", "cam2_1", "cam2_2"], None),
    ],
)
def test_numbers_that_are_missing_in_names_are_gaps(tmp_path, names, ticks):
    sequence = open_one(named(tmp_path / "clip", names))
    assert (None if sequence.ticks is None else sequence.ticks.tolist()) == ticks
    assert any("in the numbers of the names" in remark for remark in sequence.remarks) == (ticks is not None)
    assert sequence.times is None
    assert read_frames(sequence)[:, 0, 0, 0].tolist() == list(range(len(names)))
    ignoring = open_one(tmp_path / "clip", time="none")
    assert (ignoring.ticks, ignoring.remarks) == (None, ())


def test_numbers_at_unequal_steps_give_the_order_alone(tmp_path):
    sequence = open_one(named(tmp_path / "clip", ["1", "5", "6", "17", "90"]))
    assert sequence.ticks is None
    assert sequence.remarks == (
        "the numbers in the names are not evenly spaced; they give the order of the files, and no gaps",
    )


def test_decimals_are_in_the_order_of_their_values(tmp_path):
    folder = named(tmp_path / "clip", ["t0.5", "t0.25", "t10.0", "t0.75"])
    assert read_frames(open_one(folder, time="none"))[:, 0, 0, 0].tolist() == [1, 0, 3, 2]
