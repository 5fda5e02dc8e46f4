"""Times and numbers in the names of pictures."""

import numpy as np
import pytest
from PIL import Image

from tests.data.formats.frame_files import open_all, open_one, read_frames


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
    ],
)
def test_other_names_are_in_natural_order(tmp_path, names):
    sequence = open_one(named(tmp_path / "clip", names))
    assert (sequence.ticks, sequence.remarks) == (None, ())
    assert read_frames(sequence)[:, 0, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "names",
    [
        ["2026-06-01 at 11.05.30 AM", "2026-06-01 at 12.05.30 PM", "2026-06-01 at 13.05.30 PM"],
        ["01-06-2026_0005", "02-06-2026_0005", "03-06-2026_0005"],  # June, or January, February, March
        ["r01062026", "r02062026", "r03062026"],
    ],
)
def test_dates_that_can_be_read_in_two_ways_get_one_remark(tmp_path, names):
    sequence = open_one(named(tmp_path / "clip", names))
    assert (sequence.ticks, sequence.times) == (None, None)
    (remark,) = sequence.remarks
    assert "dates or times that are not read" in remark
    assert read_frames(sequence)[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert open_one(tmp_path / "clip", time="none").remarks == ()


@pytest.mark.parametrize(
    "pattern",
    ["{:%d-%m-%Y_%H%M}", "r{:%d%m%Y%H%M}", "{:%m.%d.%Y %H.%M}", "{:%d%b%Y_%H%M}", "{:%B %d, %Y at %H.%M}", "{:%Y%b%d%H%M}",
     "Screenshot {:%Y-%m-%d at %I.%M.%S %p}", "Screenshot {:%Y-%m-%d at %I.%M.%S\u202f%p}", "{:%Y%m%d_%I%M%p}",
     "{:%d-%m-%Y %I-%M %p}"],
)  # fmt: skip
def test_other_spellings_of_dates_are_read_where_they_are_clear(tmp_path, pattern):
    moments = np.datetime64("2026-05-31T11:00", "us") + np.array([0, 1, 12, 13, 14]) * np.timedelta64(1, "h")
    sequence = open_one(named(tmp_path / "clip", [pattern.format(moment) for moment in moments.tolist()]))
    assert np.array_equal(sequence.times.values, moments.astype(np.int64))
    assert read_frames(sequence)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("names", "ticks"),
    [
        (["r30052026", "r31052026", "r01062026", "r03062026"], [0, 1, 2, 4]),
        (["30May2026", "31May2026", "01Jun2026", "03Jun2026"], [0, 1, 2, 4]),
        (["f_-2", "f_-1", "f_0", "f_2"], [0, 1, 2, 4]),
        (["-0.5", "0.0", "0.5", "1.5"], [0, 1, 2, 4]),
    ],
)
def test_days_first_and_negative_numbers_give_order_and_gaps(tmp_path, names, ticks):
    sequence = open_one(named(tmp_path / "clip", names))
    assert sequence.ticks.tolist() == ticks
    assert read_frames(sequence)[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("pattern", ["sst_{:%b%Y}", "{:%B-%Y}_sst", "sst.{:%Y_%b}"])
def test_months_by_their_names_are_in_order(tmp_path, pattern):
    months = np.array(["2025-10", "2025-11", "2025-12", "2026-01", "2026-04"], "M8[D]")
    sequence = open_one(named(tmp_path / "clip", [pattern.format(month) for month in months.tolist()]))
    assert sequence.ticks.tolist() == [0, 1, 2, 3, 6]
    assert read_frames(sequence)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_words_that_begin_like_months_are_no_dates(tmp_path):
    sequence = open_one(named(tmp_path / "clip", [f"augmented_{number:02}_2024" for number in (1, 2, 3, 33)]))
    assert sequence.ticks.tolist() == [0, 1, 2, 32]


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
        (["r_2026-06-01_22", "r_2026-06-01_23", "r_2026-06-02_00", "r_2026-06-02_03"], [0, 1, 2, 5]),
        (["20260601T22Z", "20260601T23Z", "20260602T00Z", "20260602T03Z"], [0, 1, 2, 5]),
        (["sst_2026_11", "sst_2026_12", "sst_2027_01", "sst_2027_04"], [0, 1, 2, 5]),
        (["s202606012350_e202606020000", "s202606020000_e202606020010", "s202606020010_e202606020020",
          "s202606020110_e202606020120"], [0, 1, 2, 8]),  # two times
        (["202611", "202612", "202701", "202704"], [0, 1, 2, 5]),  # months
        (["A2026364", "A2026365", "A2027001", "A2027009"], [0, 1, 2, 10]),  # days of the year
        (["260629", "260630", "260701", "260703"], [0, 1, 2, 4]),  # years of two digits
        (["rw-2612312250-bin", "rw-2612312350-bin", "rw-2701010050-bin", "rw-2701010350-bin"], [0, 1, 2, 5]),
        (["24365", "24366", "25001", "25003"], [0, 1, 2, 4]),
        (["rain_1250", "rain_1255", "rain_1300", "rain_1310"], [0, 1, 2, 4]),  # times of a day
        (["rain_125858", "rain_125859", "rain_125900", "rain_125902"], [0, 1, 2, 4]),
        (["s1_001", "s1_002", "s1_004"], [0, 1, 3]),
        (["0098", "0099", "0100", "0101"], None),
        (["f0", "f2", "f5", "f7", "f10", "f12"], None),  # every 2.5 frames
        (["1.8", "1.9", "1.10", "1.11"], None),  # the tenth of 1
        (["1403636579763555584", "1403636579813556584", "1403636579863554584", "1403636579963555584"], [0, 1, 2, 4]),  # ns
        (["f1", "f2", "g4"], None),
        (["cam1_1", "cam1_2", "cam2_1", "cam2_4"], None),
    ],
)  # fmt: skip
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
    folder = named(tmp_path / "exponents", ["t1.0e-02", "t1e-03", "t5.5e-03", "t1.9E-02"])
    sequence = open_one(folder)
    assert read_frames(sequence)[:, 0, 0, 0].tolist() == [1, 2, 0, 3]
    assert sequence.ticks.tolist() == [0, 1, 2, 4]  # steps of 0.0045


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["cam1_1", "cam1_2", "cam2_1", "cam2_2"], ["cam1", "cam2"]),
        (["left_01", "left_02", "right_01", "right_02"], ["left", "right"]),
        (["001_cam0", "002_cam0", "001_cam1", "002_cam1"], ["cam0", "cam1"]),
        (["cam0_20260601_0005", "cam0_20260602_0005", "cam1_20260601_0005", "cam1_20260602_0005"], ["cam0", "cam1"]),
    ],
)
def test_pictures_of_two_cameras_are_two_sequences(tmp_path, names, labels):
    first, second = open_all(named(tmp_path / "clip", names))
    assert [first.name, second.name] == [f"clip/{label}" for label in labels]
    assert [read_frames(own)[:, 0, 0, 0].tolist() for own in (first, second)] == [[0, 1], [2, 3]]
    assert sum("by the part of the name that differs" in remark for own in (first, second) for remark in own.remarks) == 1


@pytest.mark.parametrize(
    "names",
    [
        ["h12_m00", "h12_m05", "h13_m00", "h13_m05"],
        ["12_00", "12_05", "13_00", "13_05"],
        ["week1_day1", "week1_day2", "week2_day1", "week2_day2"],
    ],
)
def test_parts_of_a_time_are_no_cameras(tmp_path, names):
    assert read_frames(open_one(named(tmp_path / "clip", names)))[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("pattern", ["{:%Y/%m/%d/%H%M}", "{:%Y-%m-%d/rain_%H-%M-%S}", "{:%Y/%m%d/%Y%m%d%H%M}"])
def test_day_folders_of_pictures_with_times_are_one_sequence(tmp_path, pattern):
    moments = np.datetime64("2026-06-30T06:00", "us") + np.array([0, 6, 12, 18, 30]) * np.timedelta64(1, "h")
    for level, moment in enumerate(moments.tolist()):
        path = tmp_path / pattern.format(moment)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), level, np.uint8)).save(f"{path}.png")
    sequence = open_one(tmp_path)
    assert np.array_equal(sequence.times.values, moments.astype(np.int64))
    assert (sequence.step, sequence.ticks.tolist()) == ("6 h", [0, 1, 2, 3, 5])
    assert read_frames(sequence)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert sequence.remarks[0] == "2 folders with 5 pictures are one sequence, in the order of their times"
    assert len(open_all(tmp_path, time="none")) == 2


@pytest.mark.parametrize("folders", [["2026/06/01", "2026/06/02"], ["1", "2"], ["a", "b"]])
def test_folders_of_pictures_that_are_counted_stay_apart(tmp_path, folders):
    for folder in folders:
        (tmp_path / folder).parent.mkdir(parents=True, exist_ok=True)
        named(tmp_path / folder, ["0001", "0002", "0003"])
    assert [(own.name, own.times) for own in open_all(tmp_path)] == [(folder, None) for folder in folders]
