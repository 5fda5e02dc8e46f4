"""The page as a file: its text, its safety, and its pictures."""

import base64
import html.parser
import io
import json
import re
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from stlight_jax import InputError
from stlight_jax.data.scaling import Scaling
from stlight_jax.reports.frame_display import FrameDisplay, display_range, pixels
from stlight_jax.reports.page import Gallery, Page, write_page
from stlight_jax.reports.sprites import Clip, encode_clips
from stlight_jax.storage.atomic import finite
from tests.reports.pages import EVIL, clips, everything, steps

_EMPTY = {"meta", "link", "input"}


class Parsed(html.parser.HTMLParser):
    """A page's elements as (name, attributes, text), and that each is closed where it should be."""

    def __init__(self, path):
        super().__init__()
        self.elements, self._open = [], []
        text = path.read_text(encoding="ascii")
        assert text.startswith("<!DOCTYPE html>")
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])
        if tag not in _EMPTY:
            self._open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag, self.getpos()

    def handle_data(self, data):
        for element in self._open:
            element[2] += data

    def texts(self, tag):
        return [text for name, _, text in self.elements if name == tag]

    def data(self):
        (text,) = (text for name, attributes, text in self.elements if name == "script" and attributes.get("id") == "data")

        def refuse(constant):
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(text, parse_constant=refuse)


@pytest.fixture
def written(tmp_path):
    def write(**given):
        write_page(tmp_path / "page.html", Page(**given))
        return Parsed(tmp_path / "page.html")

    return write


def frames_of(row, width, height):
    """uint8 `[t, h, w, 3]`, from a sprite."""
    kind, _, content = row["source"].partition(",")
    assert kind == "data:image/png;base64"
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))
    places = [divmod(number, row["columns"]) for number in range(len(row["frames"]))]
    return np.stack([sheet[y * height : (y + 1) * height, x * width : (x + 1) * width] for y, x in places])


def test_names_are_text_wherever_they_stand(written):
    page = written(**everything())
    assert len(page.texts("script")) == 2
    assert not page.texts("img")
    for tag in ("title", "h1"):
        assert page.texts(tag) == [EVIL]
    assert page.texts("header")[0].count(EVIL) == 2
    assert EVIL in page.texts("h2")
    assert EVIL in page.texts("dt")
    assert json.loads(page.texts("pre")[0])["data"] == {EVIL: EVIL}
    assert page.data()["clips"][1]["title"] == page.data()["clips"][1]["note"] == EVIL
    assert f"STLight, {EVIL}, step 1,234" in [line["name"] for line in page.data()["charts"][0]["views"][0]["lines"]]
    assert any(f"Differs: {EVIL}." in text for text in page.texts("li"))
    assert f"[1] {EVIL}" in page.texts("li")


def test_a_page_is_whole_html_that_refers_to_nothing_outside(written):
    page = written(**everything())
    assert page.elements[0][:2] == ["html", {"lang": "en"}]
    names = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    for tag, attributes, _ in page.elements:
        for name in ("src", "href", "srcset", "action", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert set(attributes.get("aria-labelledby", "").split()) <= set(names)
    styles, script = page.texts("style")[0], page.texts("script")[1]
    assert not re.search(r"@import|url\(|//", styles)
    assert re.findall(r"https?:[^\"]*", script) == ["http://www.w3.org/2000/svg"]  # a name, which nothing is loaded from
    for reference in ("fetch(", "XMLHttpRequest", "import(", "innerHTML"):
        assert reference not in script


def test_tables_hold_the_numbers(written):
    page = written(**everything())
    rows = [text for name, _, text in page.elements if name == "tr"]
    assert any(row.startswith("copy last frame") and "31.500" in row and "inf" in row for row in rows)
    assert any(row.startswith("best constant image") and "25.125" in row for row in rows)
    assert any(row.startswith("STLight-L") and "27.25" in row and "0.875" in row for row in rows)
    lead_time_2 = "".join(("2", "11", "31", "21", "25"))  # MSE of the network, copy, mean, constant
    assert lead_time_2 in rows
    assert "20.8" in rows  # sharpness
    assert "4012.5" in rows  # validation
    views = {view["name"]: view for view in page.data()["charts"][0]["views"]}
    assert list(views) == ["MSE", "MAE", "SSIM"]
    assert views["SSIM"]["lines"][0]["y"][1] is None
    assert views["MSE"]["lines"][1] == {"name": "copy last frame", "x": [1, 2, 3, 4], "y": [30.0, 31.0, 32.0, 33.0]}
    assert page.data()["charts"][1]["views"][0]["lines"][0]["y"] == [0.9, 0.8, None, 0.5]
    assert [chart["title"] for chart in page.data()["charts"][2:]] == ["Training loss", "Validation MSE"]


def test_results_that_were_read_from_json_give_the_same_page(written, tmp_path):
    given = everything()
    given["results"]["overall"]["stlight"].pop("psnr")  # infinity reads as "inf" before and "-" after, elsewhere too
    for row in ("copy_last_frame", "mean_of_inputs"):
        given["results"]["overall"][row].pop("psnr")
    written(**given)
    first = (tmp_path / "page.html").read_bytes()
    written(**{**given, "results": json.loads(json.dumps(finite(given["results"])))})
    assert (tmp_path / "page.html").read_bytes() == first


def test_what_is_not_given_has_no_heading(written):
    page = written(title="empty")
    assert not page.texts("h2")
    assert not page.texts("section")
    assert page.data() == {"clips": [], "charts": []}
    first, _ = clips()
    page = written(
        title="no truth",
        gallery=Gallery([Clip("mine", first.inputs, None, first.prediction)], "Sequences", []),
        training={"train": [], "validation": []},
        provenance={"jax": "0.12"},
    )
    assert page.texts("h2") == ["Sequences", "Provenance"]
    (clip,) = page.data()["clips"]
    assert [row["name"] for row in clip["rows"]] == ["input", "prediction"]
    assert "Difference" not in page.texts("main")[0]
    page = written(
        title="one row", results={"overall": {"stlight": {"mse": 1.0}}, "per_lead_time": {"stlight": {"mse": [1.0]}}}
    )
    assert page.texts("h2") == ["Metrics", "Lead time"]


def test_sprites_hold_the_frames_as_pictures_show_them():
    (clip, _), remarks = encode_clips(clips())
    given = clips()[0]
    assert (clip["width"], clip["height"]) == (8, 8)
    rows = {row["name"]: row for row in clip["rows"]}
    assert list(rows) == ["input", "truth", "prediction", "difference"]
    assert rows["truth"]["frames"] == [1, 2, 3, 4]
    shown = {name: frames_of(row, 8, 8) for name, row in rows.items()}
    for name in ("input", "truth", "prediction"):
        np.testing.assert_array_equal(shown[name], pixels({"input": given.inputs, **vars(given)}[name]))
    assert shown["prediction"][1, 5, 5].tolist() == [191, 191, 191]  # 1 - 0.25
    assert shown["difference"][0, 5, 5].tolist() == [255, 128, 0]  # 1 where 0 was true: far too bright
    assert shown["difference"][3, 5, 5].tolist() == [0, 0, 128]  # 0.25 where 0.75 was true: too dark
    assert shown["truth"][2, 0, 0].tolist() == [96, 112, 144]  # missing
    assert any("Slate" in remark for remark in remarks)


def test_long_and_large_clips_are_thinned_and_the_page_says_so():
    long = Clip("long", steps(3, 8), steps(200, 8, 0.005), steps(200, 8, 0.005))
    (clip,), remarks = encode_clips([long])
    truth = clip["rows"][1]
    assert (truth["frames"][0], truth["frames"][-1], len(truth["frames"]), truth["of"]) == (1, 200, 48, 200)
    assert "Of 200 lead times 48 are shown, evenly spaced." in remarks
    np.testing.assert_array_equal(frames_of(truth, 8, 8), pixels(long.truth[np.array(truth["frames"]) - 1]))

    ramp = np.tile(np.linspace(0, 1, 512, dtype=np.float32), (2, 384, 1))[..., None]
    (clip,), remarks = encode_clips([Clip("large", ramp, ramp, ramp)])
    assert (clip["width"], clip["height"]) == (256, 192)
    assert "Frames of 512 x 384 pixels are reduced to 256 x 192." in remarks
    of_two = ramp.reshape(2, 384, 256, 2).mean(-1)[:, ::2] * 255
    np.testing.assert_allclose(frames_of(clip["rows"][0], 256, 192)[..., 0], of_two, atol=1)


def test_large_clips_are_not_coloured_all_at_once():
    """A coloured frame takes about ten times its bytes: this limit allows one of 30 frames at a time."""
    inputs, truth, prediction = np.random.default_rng(0).random((3, 10, 600, 600, 1), np.float32)
    truth[:, 0, 0] = np.nan
    encode_clips([Clip("warm", inputs[:, :8, :8], truth[:, :8, :8], prediction[:, :8, :8])])
    tracemalloc.start()
    try:
        _, remarks = encode_clips([Clip("large", inputs, truth, prediction)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "Slate: missing values." in remarks
    assert peak < inputs.nbytes + truth.nbytes


def test_brightness_is_judged_by_some_of_very_many_pixels():
    """A quarter of the 2.25 million is enough."""
    shades = np.linspace(0, 0.2, 1500, dtype=np.float32)
    frames = np.broadcast_to(shades[:, None], (1, 1500, 1500))[..., None]
    assert display_range([frames]) == pytest.approx((0, 0.995 * 0.2), rel=1e-3)


def test_noise_without_end_keeps_to_the_limit():
    noise = np.random.default_rng(0).random((20, 80, 80, 3), np.float32)
    many = [Clip(str(number), noise, noise, noise[::-1]) for number in range(6)]
    for limit, count in ((8_000_000, 6), (3_000_000, 4), (1_000_000, 1)):
        shown, remarks = encode_clips(many, limit)
        assert len(shown) == count
        assert limit / 2 < sum(len(row["source"]) for clip in shown for row in clip["rows"]) <= limit
        assert "Frames of 80 x 80 pixels are reduced to 64 x 64." in remarks
        assert "Of 20 lead times 12 are shown, evenly spaced." in remarks
        assert (f"Of 6 sequences only the first {count} are shown, to keep this page small." in remarks) == (count < 6)


def test_small_values_are_brightened_and_channels_counted():
    frames = steps(4, 8, 0.05).repeat(2, -1)
    frames[..., 1] *= 2
    shown, remarks = encode_clips([Clip("rain", frames, frames, frames)])
    assert [clip["title"] for clip in shown] == ["rain, channel 1", "rain, channel 2"]
    assert {"brightened 6.67 times" in remark for remark in remarks if "of channel 1" in remark} == {True}
    assert {"brightened 3.33 times" in remark for remark in remarks if "of channel 2" in remark} == {True}
    for clip in shown:
        assert frames_of(clip["rows"][1], 8, 8)[3, 0, 0].tolist() == [255] * 3
    many = frames.repeat(4, -1)
    shown, remarks = encode_clips([Clip("rain", many, many, many)])
    assert len(shown) == 6
    assert "Of 8 channels 1 to 6 are shown." in remarks


def test_colour_bars_have_the_datas_units():
    """Two channels with ranges of their own, counts up to 900 and kelvins; all counts but few are below 60."""
    scaling = Scaling("float32", low=(0.0, 200.0), high=(900.0, 300.0))
    counts, kelvins = np.linspace(0, 60 / 900, 64), np.linspace(0.8, 0.9, 64)
    frames = np.stack([counts, kelvins], -1).reshape(1, 8, 8, 2).astype(np.float32)
    display = FrameDisplay.of([frames], 2, scaling, "mm")
    shown, remarks = encode_clips([Clip("a", frames, frames, frames)], display=display)
    low, high = np.percentile([counts, kelvins], (0.5, 99.5), axis=1)
    assert shown[0]["bars"]["values"] == ["0", f"{900 * high[0]:.3g} mm"]
    assert shown[1]["bars"]["values"] == [f"{200 + 100 * low[1]:.3g}", f"{200 + 100 * high[1]:.3g} mm"]
    assert shown[0]["bars"]["difference"] == [f"-{900 * high[0]:.3g}", f"+{900 * high[0]:.3g} mm"]
    assert f"All frames of channel 2 are drawn black at {200 + 100 * low[1]:.3g}" in " ".join(remarks)
    brightest = frames_of(shown[1]["rows"][1], 8, 8)[0]
    assert (brightest[0, 0].tolist(), brightest[-1, -1].tolist()) == ([0] * 3, [255] * 3)


def test_three_channels_are_colours_in_pictures_only():
    frames = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    colours = Scaling()
    winds = Scaling("float32", low=(-5.0,), high=(5.0,))
    beside_the_time = Scaling("float32", high=(255.0,), filling=(0.5,) * 5, covariates=2)
    for scaling in (colours, beside_the_time, colours.with_mark(), colours.with_floats()):
        assert [view.channels for view in FrameDisplay.of([frames], 3, scaling).views] == [slice(0, 3)]
    assert [view.channels.start for view in FrameDisplay.of([frames], 3, winds).views] == [0, 1, 2]


def test_a_page_that_cannot_be_written_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match=r"page.html could not be written"):
        write_page(tmp_path / "nowhere" / "page.html", Page("x"))
