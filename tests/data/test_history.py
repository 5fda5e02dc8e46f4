"""Earlier frames before a sequence: through gaps, borders of splits, crops and integer types, against the raw arrays."""

import warnings

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.data.load import check_config, open_test, open_training
from stlight_jax.data.periods import parse_periods, suggested_periods
from stlight_jax.data.scaling import Scaling
from tests.data.window_arrays import IN, OUT, load

HOURS = np.array([*range(40), *range(43, 100)])  # three hours are missing
SIDES = (8, 6)


def opened(tmp_path, dtype=np.uint8, fill=None, **data):
    """The config of windows of 3 and 2 frames, and the frame of each hour."""
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 250, (len(HOURS), *SIDES)).astype(dtype)
    (tmp_path / "raw").mkdir()
    times = np.datetime64("2020-01-01T00", "h") + HOURS
    np.savez(tmp_path / "raw" / "a.npz", data=frames, time=times)
    config = load("frames", tmp_path / "raw", prepared=str(tmp_path / "kept"), split="time", fill_value=fill, **data)
    config.data.validation_fraction = 0.2
    config.model.update(shortcut="none", patch_size=2)
    return check_config(config), dict(zip(HOURS.tolist(), frames, strict=True))


def last_inputs(hours, length, frame_step, allowed):
    """The hours of the last input frames of all windows, in order, by a loop over possible first hours."""
    found = []
    for first in allowed:
        span = (length - 1) * frame_step
        whole = all(hour in hours for hour in range(first, first + span + 1))  # a window does not cross a gap
        if whole and first + span in allowed:
            found.append(first + (IN - 1) * frame_step)
    return found


@pytest.mark.parametrize(
    ("dtype", "fill", "stored", "mark"),
    [
        (np.uint8, None, np.int16, -1),
        (np.uint16, None, np.int32, -1),
        (np.uint8, 255, np.uint8, 255),
        (np.float32, None, np.float32, None),
    ],
)
@pytest.mark.parametrize(("frame_step", "horizon"), [(1, 0), (2, 3)])
def test_history_input_and_targets_are_the_frames_of_their_hours(tmp_path, dtype, fill, stored, mark, frame_step, horizon):
    config, frames = opened(tmp_path, dtype, fill, periods="[10, 7]", frame_step=frame_step)
    object.__setattr__(config.evaluation, "horizon", horizon)
    _, validation = open_training(config)
    test = open_test(config)
    borders = [HOURS[round(97 * part)] for part in (0.6, 0.8)]  # of validation and test, 20 % each of 97 frames
    targets = horizon or OUT
    for source, allowed in ((validation, range(borders[0], borders[1])), (test, range(borders[1], 100))):
        assert source.scaling.dtype == np.dtype(stored).name
        assert source.scaling.missing
        ends = last_inputs(frames, IN + targets, frame_step, allowed)
        assert len(source) == len(ends) > 0
        early = set()
        for start in range(0, targets, OUT):  # each pass, counted from its own last frame
            for lead in range(OUT + 1):
                own = frame_step * lead
                early |= {frame_step * start + own - period * max(1, -(-own // period)) for period in (10, 7)}
        history = sorted(time for time in early if time <= 0 and time not in {-frame_step * back for back in range(IN)})
        times = [*history, *(frame_step * back for back in range(1 - IN, targets + 1))]
        found = source.frames(np.arange(len(source)))
        assert found.dtype == stored
        assert found.shape[1] == len(times) == source.shape[0] == source.description["shape"][0]
        for row, end in zip(found, ends, strict=True):
            for frame, time in zip(row, times, strict=True):
                known = frames.get(end + time)
                if known is None:
                    assert np.isnan(frame).all() if mark is None else (frame == mark).all()
                else:
                    np.testing.assert_array_equal(frame[..., 0], known)


@pytest.mark.parametrize(("dtype", "fill"), [(np.uint8, None), (np.int16, 7), (np.float32, None)])
@pytest.mark.parametrize("frame_step", [1, 2])
def test_means_are_those_of_all_earlier_frames_of_their_phase(tmp_path, dtype, fill, frame_step):
    config, frames = opened(tmp_path, dtype, fill, periods="10,mean:10", frame_step=frame_step)
    for source, allowed in ((open_training(config)[1], range(61, 81)), (open_test(config), range(81, 100))):
        assert (source.scaling.dtype, source.scaling.fill, source.scaling.data_fill) == ("float32", None, fill)
        ends = last_inputs(frames, IN + OUT, frame_step, allowed)
        history = sorted({(frame_step * lead - 10, mean) for lead in range(OUT + 1) for mean in (0, 10)})
        found = source.frames(np.arange(len(source)))
        assert found.shape[:2] == (len(ends), len(history) + IN + OUT)
        for row, end in zip(found, ends, strict=True):
            for frame, (time, mean) in zip(row, history, strict=False):
                hours = range(end + time, -1, -10) if mean else [end + time]
                values = np.stack([frames.get(hour, np.full(SIDES, np.nan)) for hour in hours]).astype(float)
                values[values == fill] = np.nan
                with warnings.catch_warnings(action="ignore"):
                    np.testing.assert_allclose(frame[..., 0], np.nanmean(values, 0), rtol=1e-6)


def test_the_covariates_of_a_mean_are_those_of_its_latest_frame(tmp_path):
    config, _ = opened(tmp_path, np.float32, periods="mean:10", clock="day")
    source, end = open_test(config), last_inputs(HOURS, IN + OUT, 1, range(81, 100))
    clock = source.frames(np.arange(len(source)))[:, : OUT + 1, 0, 0, 1:]
    for row, hour in zip(clock, end, strict=True):
        angle = 2 * np.pi * (hour + np.arange(OUT + 1) - 10) / 24
        np.testing.assert_allclose(row, np.stack([1 + np.sin(angle), 1 + np.cos(angle)], -1) / 2, atol=1e-6)


def test_training_windows_near_the_start_and_behind_gaps_stay(tmp_path):
    config, _ = opened(tmp_path, periods="24")
    plain, _ = open_training(check_config({**config.to_dict(), "data": {**config.to_dict()["data"], "periods": ""}}))
    training, _ = open_training(config)
    assert len(training) == len(plain)
    order = np.arange(len(training))
    for epoch in (0, 1):
        whole = training.frames(order, epoch)
        np.testing.assert_array_equal(whole[:, -IN - OUT :], plain.frames(order, epoch))
        missing = (whole[:, :-5] == -1).all((2, 3, 4))
        assert missing.shape == (len(training), OUT + 1)
        assert 0 < missing.sum() < missing.size


def test_history_is_cropped_and_flipped_like_its_sequence(tmp_path):
    config, frames = opened(tmp_path, periods="1", crop=4, flips=True)
    training, _ = open_training(config)  # the history of lead times 1 and 2 are input frames: there is none
    assert training.shape == (IN + OUT, 4, 4, 1)
    config, frames = (
        opened(tmp_path / "other", periods="5", crop=4, flips=True) if (tmp_path / "other").mkdir() is None else None
    )
    training, _ = open_training(config)
    windows = training.frames(np.arange(len(training)))
    assert windows.shape[1:] == (OUT + 1 + IN + OUT, 4, 4, 1)
    by_crop = {}
    for frame in frames.values():
        for top in range(SIDES[0] - 3):
            for left in range(SIDES[1] - 3):
                crop = frame[top : top + 4, left : left + 4]
                for rows in (1, -1):
                    for columns in (1, -1):
                        key = np.ascontiguousarray(crop[::rows, ::columns]).tobytes()
                        by_crop[key] = (top, left, rows, columns)
    seen = set()
    for window in windows:
        places = {by_crop[frame.astype(np.uint8).tobytes()] for frame in window if (frame != -1).any()}
        assert len(places) == 1
        seen |= places
    assert len(seen) > 20


def test_the_wider_type_keeps_every_value_and_its_scaling():
    values = np.arange(256, dtype=np.uint8)[:, None]
    plain = Scaling(filling=(0.5,))
    marked = plain.with_mark()
    assert (marked.dtype, marked.fill, marked.missing) == ("int16", -1.0, True)
    wide = values.astype(np.int16)
    np.testing.assert_array_equal(plain.to_network(values)[0], marked.to_network(wide)[0])
    found, valid = marked.to_network(np.array([[-1], [255]], np.int16))
    np.testing.assert_array_equal(found, [[0.5], [1.0]])
    np.testing.assert_array_equal(valid, [[False], [True]])
    assert Scaling("int16").with_mark().fill == -32769
    given = Scaling("uint16", fill=7.0)
    assert given.with_mark() == Scaling("uint16", fill=7.0, missing=True)


@pytest.mark.parametrize(
    ("text", "periods"),
    [("", ()), ("auto", ()), ("24", (24,)), ("24,168", (24, 168)), ("[24, 168]", (24, 168)), ("(48,)", (48,))],
)
def test_periods_are_written_in_several_ways(text, periods):
    assert parse_periods(text) == (periods, ())


def test_means_are_named_in_periods():
    assert parse_periods("[12, mean:12, mean: 4]") == ((12,), (12, 4))
    assert parse_periods("mean:168") == ((), (168,))


@pytest.mark.parametrize(
    "text", ["daily", "0", "24,24", "-3", "1.5", "24 168", "24;168", "[24", "24]", "[24]]", "mean:0", "mean:4,mean:4", "mean"]
)
def test_other_texts_are_no_periods(text):
    with pytest.raises(InputError, match=r"data.periods is .*; expected different whole numbers of sampling steps"):
        parse_periods(text)


@pytest.mark.parametrize(
    ("step", "periods"),
    [
        ("1 h", (24, 168)),
        ("30 min", (48, 336)),
        ("10 min", (144, 1008)),
        ("5 h", ()),
        ("7 h", (24,)),
        ("6 h", (4, 28)),
        ("1 d", (7,)),
        ("7 d", ()),
        ("30 d", (12,)),
        ("31 d", (12,)),
        ("732 h", (12,)),
        ("1 month", (12,)),
        ("3 months", (4,)),
        ("2190 h", (4,)),
        ("5 months", ()),
        ("1 year", ()),
        ("365 d", ()),
        ("40 ms", (2_160_000, 15_120_000)),
        ("1 of 'step'", ()),
        ("", ()),
    ],
)
def test_a_sampling_step_suggests_a_day_a_week_or_a_year(step, periods):
    assert suggested_periods(step) == periods


def test_data_without_a_past_are_refused(small_run):
    from stlight_jax.data.sequences import WithHistory

    training, _ = open_training(check_config(small_run))
    with pytest.raises(InputError, match="data.periods asks for earlier frames, and .* has none; set it to ''"):
        WithHistory(training, [[24]])
