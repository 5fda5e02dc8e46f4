"""Weather radar in HDF5: pictures in physical units, with the times that the files give."""

import h5py
import numpy as np
import pytest

from stlight_jax import InputError
from tests.data.formats.frame_files import open_all, open_one, read_frames

RNG = np.random.default_rng(3)
COUNTS = RNG.integers(1, 255, (14, 12, 16)).astype(np.uint8)
COUNTS[:, 0, :5], COUNTS[:, 5, 5:9] = 255, 0
MISSING, UNDETECT = COUNTS == 255, COUNTS == 0
START = np.datetime64("2026-06-01T12:00:00")


def what(quantity="DBZH", gain=0.5, offset=-32.0, nodata=255.0, undetect=0.0, **more):
    return {"quantity": quantity.encode(), "gain": gain, "offset": offset, "nodata": nodata, "undetect": undetect, **more}


def write_odim(path, datasets, minutes=0, kind="COMP", where=None, **root):
    """Writes arrays `[h, w]` by their groups: {"dataset1/data1": (array, attributes of `what`)}."""
    moment = (START + np.timedelta64(minutes, "m")).item()
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = b"ODIM_H5/V2_2"
        times = {"date": moment.strftime("%Y%m%d").encode(), "time": moment.strftime("%H%M%S").encode()}
        file.create_group("what").attrs.update({"object": kind.encode(), **times, **root})
        file.create_group("where").attrs.update({"LL_lon": 1.0, **(where or {})})
        for group, (array, attributes) in datasets.items():
            file.create_dataset(f"{group}/data", data=array)
            file.create_group(f"{group}/what").attrs.update(attributes)


def write_knmi(path, images, formula=b"GEO=0.5*PV+-32", marks=(254, 255), start=b"01-JUN-2026;12:00:00.000", valid=None):
    with h5py.File(path, "w") as file:
        file.create_group("overview").attrs["product_datetime_start"] = start
        for number, array in enumerate(images, 1):
            file[f"image{number}/image_data"] = array
            calibration = file.create_group(f"image{number}/calibration").attrs
            calibration["calibration_formulas"] = formula
            calibration["calibration_missing_data"] = np.array([marks[0]], np.int32)
            calibration["calibration_out_of_image"] = np.array([marks[1]], np.int32)
            if valid:
                file[f"image{number}"].attrs["image_datetime_valid"] = valid[number - 1]


def test_odim_pictures_are_one_sequence_in_dbz(tmp_path):
    for number, counts in enumerate(COUNTS):
        write_odim(tmp_path / f"T_{number:02}.h5", {"dataset1/data1": (counts, what())}, 5 * number)
    sequence = open_one(tmp_path)
    assert (sequence.frames, sequence.step) == (14, "5 min")
    assert sequence.times.values.astype("M8[us]").tolist() == [(START + np.timedelta64(5 * n, "m")).item() for n in range(14)]
    frames = read_frames(sequence)[..., 0]
    expected = np.where(MISSING, np.nan, COUNTS * 0.5 - 32)
    np.testing.assert_array_equal(frames, expected)
    assert int(np.isnan(frames).sum()) == 70
    assert int((frames == -32).sum()) == 56
    assert "pixels without an echo ('undetect', stored as 0) are read as -32 dBZ" in sequence.remarks


@pytest.mark.parametrize(
    ("quantity", "expected"), [("RATE", 0.0), ("ACRR", 0.0), ("TH", -32.0), ("VRADH", np.nan), ("CLASS", np.nan)]
)
def test_undetect_as_a_mark_is_no_value(tmp_path, quantity, expected):
    stored = np.full((6, 5), 7.5)
    stored[0, 0], stored[1, 1] = -8888000, -9999000
    rules = what(quantity, 1.0, 0.0, -9999000.0, -8888000.0)
    write_odim(tmp_path / "a.h5", {"dataset1/data1": (stored, rules)})
    (frame,) = read_frames(open_one(tmp_path / "a.h5"))[..., 0]
    np.testing.assert_array_equal(frame[0, 0], expected)
    assert np.isnan(frame[1, 1])
    assert (np.delete(frame.ravel(), [0, 6]) == 7.5).all()


@pytest.mark.parametrize(("nodata", "undetect"), [(0.0, 255.0), (255.0, -1.0)])
def test_undetect_never_takes_a_number_that_means_something_else(tmp_path, nodata, undetect):
    write_odim(tmp_path / "a.h5", {"dataset1/data1": (COUNTS[0], what(nodata=nodata, undetect=undetect))})
    sequence = open_one(tmp_path / "a.h5")
    expected = np.where(np.isin(COUNTS[0], [nodata, undetect]), np.nan, COUNTS[0] * 0.5 - 32)
    np.testing.assert_array_equal(read_frames(sequence)[0, ..., 0], expected)
    if undetect == 255:
        assert "pixels without an echo ('undetect', stored as 255) are missing" in sequence.remarks


def test_attributes_may_lie_in_the_group_of_the_dataset(tmp_path):
    rules = what(gain=2.0, offset=1.0, nodata=9.0)
    write_odim(tmp_path / "a.h5", {"dataset1/data1": (np.full((6, 5), 4, np.uint16), {"quantity": b"ACRR"})})
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.create_group("dataset1/what").attrs.update(rules)
    sequence = open_one(tmp_path / "a.h5")
    assert sequence.name == "a.h5#ACRR"
    assert (read_frames(sequence) == 9).all()


def test_several_quantities_are_a_choice(tmp_path):
    rate = what("RATE", 0.1, 0.0)
    write_odim(
        tmp_path / "a.h5",
        {
            "dataset1/data1": (COUNTS[0], what()),
            "dataset1/data2": (COUNTS[1], rate),
            "dataset1/quality1": (np.full((12, 16), 100, np.uint8), what("QIND", 0.01, 0.0)),
        },
    )
    with pytest.raises(InputError, match=r"a.h5 holds several variables; choose one with --config.data.variable: DBZH, RATE"):
        open_all(tmp_path / "a.h5")
    for name in ("RATE", "dataset1/data2/data", "/dataset1/data2/data"):
        frames = read_frames(open_one(tmp_path / "a.h5", variable=name))[0, ..., 0]
        np.testing.assert_allclose(frames[frames == frames].max(), 0.1 * COUNTS[1][COUNTS[1] < 255].max(), rtol=1e-6)
    assert read_frames(open_one(tmp_path / "a.h5", variable="dataset1/quality1/data")).max() == 1


def test_datasets_of_one_quantity_at_several_times_are_frames(tmp_path):
    steps = {
        f"dataset{n + 1}/data1": (COUNTS[n], what(startdate=b"20260601", starttime=f"12{5 * n:02}00".encode()))
        for n in range(3)
    }
    write_odim(tmp_path / "a.h5", steps)
    sequence = open_one(tmp_path / "a.h5")
    assert (sequence.frames, sequence.step) == (3, "5 min")
    np.testing.assert_array_equal(read_frames(sequence)[..., 0], np.where(MISSING, np.nan, COUNTS * 0.5 - 32)[:3])
    np.testing.assert_array_equal(np.concatenate(list(sequence.blocks(2)))[0], read_frames(sequence)[2])


def test_sweeps_of_a_volume_are_a_choice(tmp_path):
    sweeps = {f"dataset{n}/data1": (COUNTS[n], what(startdate=b"20260601", starttime=f"1200{n:02}".encode())) for n in (1, 2)}
    write_odim(tmp_path / "a.h5", sweeps, kind="PVOL")
    with pytest.raises(InputError, match=r"choose one with --config.data.variable: dataset1/data1/data, dataset2/data1/data"):
        open_all(tmp_path / "a.h5")
    sequence = open_one(tmp_path / "a.h5", variable="dataset2/data1/data")
    assert "frames are polar: rows are directions of the antenna, columns distances" in sequence.remarks


def test_pictures_of_two_places_are_two_sequences(tmp_path):
    for number in range(4):
        place = {"LL_lon": float(number // 2)}
        write_odim(tmp_path / f"{number}.h5", {"dataset1/data1": (COUNTS[number], what())}, 5 * number, where=place)
    assert [sequence.frames for sequence in open_all(tmp_path)] == [2, 2]


def test_a_file_may_lack_the_group_of_the_whole(tmp_path):
    rules = what(startdate=b"20260601", starttime=b"120500")
    write_odim(tmp_path / "a.h5", {"dataset1/data1": (COUNTS[0], rules)})
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["what"], file["where"]
    sequence = open_one(tmp_path / "a.h5")
    np.testing.assert_array_equal(read_frames(sequence)[0, ..., 0], np.where(MISSING, np.nan, COUNTS * 0.5 - 32)[0])
    assert sequence.times.values.astype("M8[us]").tolist() == [np.datetime64("2026-06-01T12:05").item()]


def test_a_date_that_is_none_is_refused(tmp_path):
    write_odim(tmp_path / "a.h5", {"dataset1/data1": (COUNTS[0], what())}, date=b"20261301")
    with pytest.raises(InputError, match=r"a.h5: its time is '20261301120000'; expected one such as 20260601120500"):
        open_all(tmp_path / "a.h5")
    assert open_one(tmp_path / "a.h5", time="none").times is None


def test_knmi_pictures_are_one_sequence_in_their_units(tmp_path):
    for number, counts in enumerate(COUNTS):
        start = f"01-JUN-2026;{12 + number // 12}:{5 * number % 60:02}:00.000".encode()
        write_knmi(tmp_path / f"RAD_{number:02}.h5", [counts], start=start)
    sequence = open_one(tmp_path)
    assert (sequence.frames, sequence.step) == (14, "5 min")
    assert sequence.times.values[0] == START.astype("M8[us]").astype(np.int64)
    expected = np.where(COUNTS >= 254, np.nan, COUNTS * 0.5 - 32)
    np.testing.assert_array_equal(read_frames(sequence)[..., 0], expected)
    assert any("254 (calibration_missing_data) and 255 (calibration_out_of_image) are missing" in r for r in sequence.remarks)


@pytest.mark.parametrize("formula", [b"GEO=0.010000*PV+0.000000", b"GEO = 0.01 * PV", b"geo=1e-2*PV+0"])
def test_knmi_accumulations_are_in_millimetres(tmp_path, formula):
    stored = np.full((6, 5), 123, np.uint16)
    stored[0] = 65535
    write_knmi(tmp_path / "a.h5", [stored], formula, (65534, 65535))
    frame = read_frames(open_one(tmp_path / "a.h5"))[0, ..., 0]
    assert np.isnan(frame[0]).all()
    np.testing.assert_allclose(frame[1:], 1.23, rtol=1e-6)


def test_a_forecast_of_knmi_is_a_sequence(tmp_path):
    valid = [f"01-JUN-2026;12:{5 * number:02}:00.000".encode() for number in range(4)]
    write_knmi(tmp_path / "a.h5", COUNTS[:4], valid=valid)
    sequence = open_one(tmp_path / "a.h5")
    assert (sequence.frames, sequence.step) == (4, "5 min")
    np.testing.assert_array_equal(read_frames(sequence)[..., 0], np.where(COUNTS >= 254, np.nan, COUNTS * 0.5 - 32)[:4])


def test_a_formula_that_is_not_linear_is_refused(tmp_path):
    write_knmi(tmp_path / "a.h5", COUNTS[:1], b"GEO=10^(0.05*PV)")
    with pytest.raises(
        InputError, match=r"image1/image_data: its calibration_formulas is 'GEO=10\^\(0.05\*PV\)'; expected GEO=a"
    ):
        open_all(tmp_path / "a.h5")
