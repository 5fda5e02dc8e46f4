"""Splits of a user's frames: nothing is in two of them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stlight_jax.data.splits import SPLITS, Candidate, SplitRule, split
from stlight_jax.data.windows import Segment, split_at_jumps
from stlight_jax.errors import InputError


def untimed(*frames, names=None):
    names = names or [f"clip{number}" for number in range(len(frames))]
    return [Candidate(name, [Segment(0, count)], False) for name, count in zip(names, frames, strict=True)]


def timed(*ticks):
    return [Candidate(f"station{number}", split_at_jumps(np.asarray(t)), True) for number, t in enumerate(ticks)]


def taken(parts):
    """{split: {(sequence, frame): tick}}; within a split nothing may come twice either."""
    found = {}
    for name, chosen in parts.items():
        frames = [
            ((part.sequence, segment.first + i), segment.tick + i)
            for part in chosen
            for segment in part.segments
            for i in range(segment.frames)
        ]
        assert len(dict(frames)) == len(frames)
        found[name] = dict(frames)
    return found


def whole(candidates):
    """{(sequence, frame): tick} of everything."""
    return {
        (number, segment.first + i): segment.tick + i
        for number, candidate in enumerate(candidates)
        for segment in candidate.segments
        for i in range(segment.frames)
    }


def check(candidates, parts):
    found, everything = taken(parts), whole(candidates)
    assert set(parts) == set(SPLITS)
    for one, other in itertools.combinations(SPLITS, 2):
        assert not found[one].keys() & found[other].keys()
    for frames in found.values():
        assert frames.items() <= everything.items()  # each still has its tick
        assert frames
    assert all(segment.frames >= 1 for name in SPLITS for part in parts[name] for segment in part.segments)
    return found


@st.composite
def sequences(draw):
    """Timed or untimed sequences, with jumps, steps back and repeated stamps, and names of all kinds."""
    names = st.sampled_from(["train/a", "test/b", "val/c", "x/d", "e"])
    candidates = []
    for number in range(draw(st.integers(1, 7))):
        jumps = draw(st.lists(st.sampled_from([1, 1, 1, 1, 0, -3, 5]), min_size=0, max_size=25))
        ticks = draw(st.integers(0, 30)) + np.cumsum([0, *jumps])
        is_timed = draw(st.booleans())
        segments = split_at_jumps(ticks) if is_timed else [Segment(0, len(ticks))]
        candidates.append(Candidate(f"{draw(names)}{number}", segments, is_timed))
    return candidates


@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    candidates=sequences(),
    way=st.sampled_from(["auto", "name", "sequence", "time"]),
    validation=st.floats(0.05, 0.45),
    test=st.floats(0.05, 0.45),
    gap=st.integers(0, 4),
    group=st.sampled_from(["", "[a-e]", "."]),
)
def test_no_frame_is_in_two_splits(candidates, way, validation, test, gap, group):
    try:
        parts, message = split(candidates, SplitRule(way, validation, test, gap, group))
    except InputError as error:
        parts, message = None, str(error)
    if parts is None:
        assert "\n" not in message
        assert "data." in message
        return
    found = check(candidates, parts)
    assert message.startswith("divided by ")
    for name in SPLITS:
        assert f"{name} {len(found[name]):,} frames" in message
    if "by time" in message:
        moments = {
            name: {tick for (number, _), tick in frames.items() if candidates[number].timed} for name, frames in found.items()
        }
        for one, other in itertools.combinations(SPLITS, 2):
            assert not moments[one] & moments[other]
            if moments[one] and moments[other]:
                assert min(moments[other]) - max(moments[one]) > gap
        for number in range(len(candidates)):
            own = {name: [tick for (of, _), tick in frames.items() if of == number] for name, frames in found.items()}
            for one, other in itertools.combinations(SPLITS, 2):
                if own[one] and own[other]:
                    assert min(own[other]) - max(own[one]) > gap
    if "by sequence" in message:
        for name in SPLITS:  # all frames of the chosen
            numbers = {number for number, _ in found[name]}
            assert found[name] == {key: tick for key, tick in whole(candidates).items() if key[0] in numbers}


@pytest.mark.parametrize("gap", [0, 1, 7])
def test_by_time_the_last_part_is_for_testing(gap):
    candidates = untimed(100, 50)
    parts, message = split(candidates, SplitRule("time", 0.1, 0.2, gap))
    found = check(candidates, parts)
    for number, count in enumerate((100, 50)):
        own = {name: sorted(frame for of, frame in frames if of == number) for name, frames in found.items()}
        validated, tested = round(0.7 * count), round(0.8 * count)
        assert own["train"] == list(range(validated))
        assert own["validation"] == list(range(validated + gap, tested))
        assert own["test"] == list(range(tested + gap, count))
    assert message.startswith(f"divided by time, with {gap} frames left out between splits: train 105 frames")


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.2), (0.25, 0.25), (0.01, 0.5), (0.3, 0.05)])
def test_fractions_are_kept(validation, test):
    found = check(untimed(1000), split(untimed(1000), SplitRule("time", validation, test, 0))[0])
    for name, fraction in (("train", 1 - validation - test), ("validation", validation), ("test", test)):
        assert len(found[name]) == pytest.approx(1000 * fraction, abs=1)
    many = untimed(*[3] * 200)
    found = check(many, split(many, SplitRule("sequence", validation, test, 0))[0])
    for name, fraction in (("train", 1 - validation - test), ("validation", validation), ("test", test)):
        assert len(found[name]) == pytest.approx(600 * fraction, abs=6)


def test_sequences_with_times_are_cut_at_common_moments():
    candidates = timed(range(100), range(20, 120), range(100, 140))
    parts, _ = split(candidates, SplitRule("time", 0.1, 0.2, 3))
    found = check(candidates, parts)
    everything = np.sort([*range(100), *range(20, 120), *range(100, 140)])
    cuts = everything[round(0.7 * 240)], everything[round(0.8 * 240)]
    for key, tick in whole(candidates).items():
        assert (key in found["train"]) == (tick < cuts[0])
        assert (key in found["validation"]) == (cuts[0] + 3 <= tick < cuts[1])
        assert (key in found["test"]) == (tick >= cuts[1] + 3)
    # The second sequence goes on while the third is tested, so most of the third is for the test alone.
    assert {part.sequence for part in parts["train"]} == {0, 1}


def test_frames_of_one_moment_stay_together_though_stamps_repeat():
    ticks = np.repeat(np.arange(20), 5)  # each stamp five times, so that cuts fall in the middle of a moment
    for validation, test in ((0.13, 0.21), (0.1, 0.2), (0.31, 0.17)):
        candidates = timed(ticks, ticks[3:])
        found = check(candidates, split(candidates, SplitRule("time", validation, test, 0))[0])
        moments = [set(found[name].values()) for name in SPLITS]
        assert sum(map(len, moments)) == len(set.union(*moments)) == 20
        assert sum(map(len, found.values())) == 197


def test_timed_and_untimed_sequences_are_cut_each_in_their_way():
    candidates = [*timed(range(1000, 1100)), *untimed(10)]
    parts, _ = split(candidates, SplitRule("time", 0.1, 0.2, 0))
    check(candidates, parts)
    assert [part.segments for part in parts["test"]] == [[Segment(80, 20, 1080)], [Segment(8, 2, 8)]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train/a.npy", "train"),
        ("x/Training/a.mp4", "train"),
        ("TEST_01.mp4", "test"),
        ("x/testing2/a", "test"),
        ("val/a", "validation"),
        ("valid-3", "validation"),
        ("x/validation/train.npy", "validation"),
        ("file.npz#train", "train"),
        ("file.npz#val_2", "validation"),
    ],
)
def test_names_tell_the_split(name, expected):
    others = [f"{other}/o" for other in ("train", "val", "test")]
    candidates = untimed(5, 5, 5, 5, names=[name, *others])
    parts, message = split(candidates, SplitRule("auto", 0.1, 0.2, 0))
    check(candidates, parts)
    assert message.startswith("divided by name: ")
    assert {split for split in SPLITS if any(part.sequence == 0 for part in parts[split])} == {expected}


@pytest.mark.parametrize("name", ["trains/a", "mytrain.npy", "valley/a", "contest/b", "tests/a", "latest.npy", "retrain"])
def test_other_names_tell_nothing(name):
    with pytest.raises(InputError, match=f"data.split is 'name', but {name} is neither in nor begins with train, val or test"):
        split(untimed(9, 9, 9, names=["train/a", "test/a", name]), SplitRule("name", 0.1, 0.2, 0))


def test_validation_is_cut_from_training_sequences_where_none_is_named():
    candidates = untimed(20, 10, 30, names=["train/a", "test/b", "train/c"])
    parts, _ = split(candidates, SplitRule("name", 0.1, 0.2, 1))
    check(candidates, parts)
    assert parts["test"] == [(1, [Segment(0, 10)])]
    assert parts["train"] == [(0, [Segment(0, 18)]), (2, [Segment(0, 27)])]
    assert parts["validation"] == [(0, [Segment(19, 1, 19)]), (2, [Segment(28, 2, 28)])]


@pytest.mark.parametrize(
    ("names", "group", "message"),
    [
        (["train1", "train2", "test1"], "", "by name"),
        (["train1", "train2", "val1"], "", "by time"),  # without a test set names do not do
        (["train1", "b", "test1"], "", "by time"),
        (["a", "b", "c", "d"], "", "by time"),
        (["a", "b", "c", "d", "e"], "", "by sequence"),
        (["a1", "a2", "b1", "b2", "c1", "c2"], "^.", "by time"),  # three groups
        (["a1", "b1", "c1", "d1", "e1", "e2"], "^.", "by sequence"),
    ],
)
def test_auto_chooses(names, group, message):
    assert split(untimed(*[30] * len(names), names=names), SplitRule("auto", 0.2, 0.2, 0, group))[1].startswith(
        f"divided {message}"
    )


def test_groups_stay_together():
    names = [f"person{person:02}/scene{scene}" for person in range(10) for scene in range(3)]
    candidates = untimed(*[4] * 30, names=names)
    parts, _ = split(candidates, SplitRule("sequence", 0.2, 0.3, 0, r"person\d+"))
    check(candidates, parts)
    persons = {name: {names[part.sequence][:8] for part in parts[name]} for name in SPLITS}
    assert [len(persons[name]) for name in SPLITS] == [5, 2, 3]
    assert sum(map(len, persons.values())) == len(set.union(*persons.values()))
    assert sum(len(parts[name]) for name in SPLITS) == 30


def test_by_sequence_the_draw_is_always_the_same():
    candidates = untimed(*range(1, 21))
    parts, message = split(candidates, SplitRule("sequence", 0.1, 0.2, 0))
    for _ in range(3):
        assert split(candidates, SplitRule("sequence", 0.1, 0.2, 0)) == (parts, message)
    # A draw, and not the last ones.
    assert [part.sequence for part in parts["test"]] not in (list(range(4)), list(range(16, 20)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation_fraction": 0.0}, "data.validation_fraction is 0.0 and data.test_fraction 0.2; each must be more than 0"),
        ({"test_fraction": 1.0}, "data.validation_fraction is 0.1 and data.test_fraction 1.0"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "both together less than 1"),
        ({"validation_fraction": float("nan")}, "data.validation_fraction is nan"),
        ({"group": "("}, r"data.group is '\(', which is no regular expression"),
        ({"group": "person"}, "data.group is 'person', which finds nothing in clip0"),
        ({"split": "name"}, "data.split is 'name', but clip0 is neither in nor begins with train, val or test"),
        ({"split": "sequence", "candidates": untimed(50, 50)}, "there are 2 sequences .* set data.split=time"),
        (
            {"candidates": untimed(2)},
            r"no frames for the split validation \(divided by time.* longest sequence has 2 frames",
        ),
        ({"gap": 20}, r"no frames for the split (validation|test) \(divided by time, with 20"),
        ({"split": "sequence", "test_fraction": 0.8, "candidates": untimed(9, 9, 9)}, "no frames for the split"),
        ({"split": "name", "candidates": untimed(9, 9, names=["val/a", "test/b"])}, "no frames for the split train"),
        ({"split": "name", "candidates": untimed(9, 9, names=["val/a", "train/b"])}, "no frames for the split test"),
        ({"candidates": []}, "no frames for the split train"),
        ({"candidates": [*untimed(50), Candidate("empty.npy", [], True)]}, "empty.npy has no frames; remove it"),
    ],
)
def test_impossible_splits_are_refused(changes, message):
    rule = dict(changes)
    candidates = rule.pop("candidates", untimed(50, 50))
    with pytest.raises(InputError, match=message) as caught:
        split(candidates, SplitRule(**rule))
    assert "\n" not in str(caught.value)


def at(candidates, gap=0, validation=0.1, test=0.2, **cuts):
    """The ticks of each split, cut at given ticks."""
    rule = SplitRule("auto", validation, test, gap, **dict.fromkeys(cuts, "2019"))
    parts, message = split(candidates, rule, cuts)
    assert all(f", {key} 2019, " in message for key in cuts)
    return {name: sorted(frames.values()) for name, frames in check(candidates, parts).items()}


def test_moments_choose_the_stretch_of_the_test():
    found = at(timed(range(100)), test_from=60)
    assert found == {"train": [*range(50)], "validation": [*range(50, 60)], "test": [*range(60, 100)]}
    found = at(timed(range(100)), test_from=60, gap=3)
    assert found == {"train": [*range(50)], "validation": [*range(53, 60)], "test": [*range(63, 100)]}
    found = at(timed(range(100)), test_from=40, test_before=60, gap=2)
    assert found == {"train": [*range(30), *range(62, 100)], "validation": [*range(32, 40)], "test": [*range(42, 60)]}
    found = at(timed(range(100)), test_before=60)
    assert found == {"train": [*range(30), *range(60, 100)], "validation": [*range(30, 40)], "test": [*range(40, 60)]}


def test_moments_choose_the_stretch_of_the_validation():
    found = at(timed(range(100)), validation_from=50)
    assert found == {"train": [*range(50)], "validation": [*range(50, 80)], "test": [*range(80, 100)]}
    found = at(timed(range(100)), validation_from=50, validation_before=70, test_from=90)
    assert found == {"train": [*range(50), *range(70, 90)], "validation": [*range(50, 70)], "test": [*range(90, 100)]}
    found = at(timed(range(100)), test_from=0, test_before=20, validation_from=90)
    assert found == {"train": [*range(20, 90)], "validation": [*range(90, 100)], "test": [*range(20)]}


def test_moments_cut_all_sequences_with_times_alike():
    candidates = timed(range(100), range(20, 120), range(100, 140), range(50), range(9))  # five would be divided by sequence
    found = at(candidates, test_from=110)
    everything = np.sort([*range(100), *range(20, 120), *range(100, 140), *range(50), *range(9)])
    begin = everything[np.count_nonzero(everything < 110) - round(0.1 * len(everything))]
    assert found["test"] == sorted([*range(110, 120), *range(110, 140)])
    assert found["validation"] == [tick for tick in everything.tolist() if begin <= tick < 110]


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        ({"test_from": 0}, r"the validation set has no frames \(divided by data.test_from\)"),
        ({"test_from": 60, "test_before": 60}, "the test set has no frames"),
        ({"test_from": 60, "test_before": 80, "validation_from": 70, "validation_before": 90}, "the test set overlap"),
        ({"validation_from": 85}, "the validation set has no frames"),
        ({"validation_from": 0, "test_from": 60}, "no frames for the split train"),
    ],
)
def test_impossible_moments_are_refused(cuts, message):
    with pytest.raises(InputError, match=message) as caught:
        at(timed(range(100)), **cuts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("way", ["name", "sequence"])
def test_moments_divide_by_time_only(way):
    with pytest.raises(InputError, match=f"data.test_from is '2019-03-20' and data.split '{way}'; set data.split=time"):
        SplitRule(way, test_from="2019-03-20")
