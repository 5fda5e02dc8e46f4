"""Results as one page that opens from a disk, without a network: tables, charts, and an animated gallery.

`page.html` is its frame; `page.css` and `page.js` are put into it. Names that users choose (of data, configs, sequences) reach
it as escaped text, or as JSON that cannot end its script element; a policy in the page forbids it to load anything.
"""

import dataclasses
import json
import pathlib
import string
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

from etils import epath

from stlight_jax.metrics import metric_list
from stlight_jax.metrics.metric import SampledMetric
from stlight_jax.reports import comparison
from stlight_jax.reports.charts import Chart, lead_time_charts, training_charts
from stlight_jax.reports.frame_display import FrameDisplay
from stlight_jax.reports.results_summary import network_rows, summary
from stlight_jax.reports.skill import start_label
from stlight_jax.reports.sprites import Clip, encode_clips
from stlight_jax.storage.atomic import finite, write_atomic

_TEMPLATE = pathlib.Path(__file__).with_suffix(".html")
_PLAYER = """<div id="player" class="player" role="group" tabindex="0"
 aria-label="Animated sequences: space plays and pauses, the arrow keys step">
<div class="controls">
<button type="button" id="play">Play</button>
<label class="position">Frame <input type="range" id="scrubber" min="0" max="0" value="0" step="1"></label>
<span id="position" class="position-text"></span>
<label>Speed <select id="speed"><option value="0.5">&frac12;&times;</option><option value="1" selected>1&times;</option>
<option value="2">2&times;</option><option value="4">4&times;</option></select></label>
</div>
<div id="clips" class="clips"></div>
</div>
<noscript><p>The animation needs JavaScript.</p></noscript>"""


@dataclasses.dataclass(frozen=True)
class Gallery:
    """The animated sequences of a page.

    Attributes:
      clips: in order; about 6 MB of pictures are taken, see `sprites.encode_clips`.
      title: heading.
      remarks: sentences below.
      display: the colours of the frames; None chooses them for these clips.
    """

    clips: Sequence[Clip]
    title: str
    remarks: Sequence[str]
    display: FrameDisplay | None = None


@dataclasses.dataclass(frozen=True)
class Page:
    """The content of a page; a part that is None or empty has no heading.

    Attributes:
      title: of the page.
      subtitle: a line below the title.
      results: of `results.as_json` with the sampled metrics, or as read from `metrics.json`; or the part of it that
        `results.summary` needs.
      gallery: sequences to look at.
      training: "train" and "validation" -> lines of the metrics log.
      config: plain data, shown as it is.
      provenance: name -> text, number, dict or list.
    """

    title: str
    subtitle: str = ""
    results: Mapping[str, Any] | None = None
    gallery: Gallery | None = None
    training: Mapping[str, Sequence[dict[str, Any]]] | None = None
    config: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] | None = None


def write_page(path: epath.PathLike, page: Page) -> None:
    """Writes a page in one step, to a disk or a bucket.

    Args:
      path: of the file, in an existing folder.
      page: its content.

    Raises:
      InputError: the file cannot be written.
    """
    gallery = page.gallery
    clips, remarks_on_clips = ([], []) if gallery is None else encode_clips(gallery.clips, display=gallery.display)
    charts = _Charts()
    sections = [
        _metrics_section(page.results),
        _gallery_section(page.gallery, clips, remarks_on_clips),
        _lead_time_section(page.results, charts),
        _training_section(page, charts),
        _section("provenance", "Provenance", _definitions(page.provenance)) if page.provenance else "",
        _config_section(page.config),
    ]
    text = string.Template(_TEMPLATE.read_text()).substitute(
        title=escape(page.title),
        subtitle=_paragraph(page.subtitle) + _paragraph((page.results or {}).get("verdict", ""), ' class="verdict"'),
        sections="\n".join(section for section in sections if section),
        style=_TEMPLATE.with_suffix(".css").read_text(),
        script=_TEMPLATE.with_suffix(".js").read_text(),
        data=_json({"clips": clips, "charts": [chart.as_json() for chart in charts]}),
    )
    ascii_only = text.encode("ascii", "xmlcharrefreplace").decode()  # the same in any encoding
    write_atomic(epath.Path(path), ascii_only)


def _paragraph(text: str, attributes: str = "") -> str:
    return f"<p{attributes}>{escape(text)}</p>" if text else ""


class _Charts(list[Chart]):
    """All charts of a page, in the order of the page."""

    def place(self, charts: Sequence[Chart]) -> str:
        """Appends charts, and returns the HTML that `page.js` draws them into."""
        figures = "".join(_chart(chart, number) for number, chart in enumerate(charts, len(self)))
        self.extend(charts)
        return f'<div class="charts">{figures}</div>'


def _json(content: Any) -> str:
    """JSON for a script element: only `<` could end it or turn it into another."""
    return json.dumps(finite(content), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _metrics_section(results: Mapping[str, Any] | None) -> str:
    if results is None:
        return ""
    shown = summary(results)
    body = _table(*shown.overall, shown.networks) + _list(shown.remarks)
    quantiles = results.get("sequence_mse", {}).get("quantiles")
    if quantiles:
        names = [f"{float(q):.0%}" for q in quantiles]
        values = [["MSE", *(f"{value:.4g}" for value in quantiles.values())]]
        table = _table("MSE of single sequences", ["of the sequences at most", *names], values)
        body += f"<details><summary>Spread over the sequences</summary>{table}</details>"
    if results.get("published") is not None:
        own = network_rows(results)
        published = comparison.side_by_side(results["published"], own)
        table = _table(published.title, ["", *published.headings], [*published.own, *published.published], own=own)
        body += f"<h3>Published results</h3>{table}{_list(published.remarks)}"
    return _section("metrics", "Metrics", body)


def _gallery_section(gallery: Gallery | None, clips: Sequence[dict[str, Any]], remarks: Sequence[str]) -> str:
    if gallery is None or not clips:
        return ""
    return _section("gallery", gallery.title, _PLAYER + _list([*gallery.remarks, *remarks]))


def _lead_time_section(results: Mapping[str, Any] | None, charts: _Charts) -> str:
    if results is None:
        return ""
    remarks = [
        f"{metric.label}: {metric.definition}. {_sample(results[metric.key])}".strip()
        for metric in metric_list.metrics_of(SampledMetric)
        if metric.key in results
    ]
    shown = summary(results)
    drawn = charts.place(lead_time_charts(shown.lead_times, results, shown.names))
    tables = "".join(_table(*table, shown.networks) for table in shown.tables)
    return _section("lead-time", "Lead time", drawn + _list(remarks) + tables)


def _sample(measured: Mapping[str, Any]) -> str:
    """The size of the sample that a metric was measured on."""
    if "sequences" in measured:
        return f"Measured on {measured['sequences']:,} sequences, evenly spaced."
    if "windows" in measured:
        count = measured["windows"]
        return f"Measured on {'all ' * (count > 1)}{count:,} forecast{'s' * (count > 1)} with truth."
    return ""


def _training_section(page: Page, charts: _Charts) -> str:
    log, start = page.training or {}, start_label(page.config or {})
    curves = training_charts(log.get("train", ()), log.get("validation", ()), start)
    return _section("training", "Training", charts.place(curves)) if curves else ""


def _config_section(config: Mapping[str, Any] | None) -> str:
    if not config:
        return ""
    text = escape(json.dumps(finite(config), indent=2, ensure_ascii=False, default=str))
    details = f'<details><summary>All keys</summary><pre tabindex="0">{text}</pre></details>'
    return _section("config", "Config", details)


def _chart(chart: Chart, number: int) -> str:
    """A figure that `page.js` draws into, with its numbers as tables."""
    views = ""
    if len(chart.views) > 1:
        choices = "".join(
            f'<label><input type="radio" name="view-{number}" value="{i}"{"" if i else " checked"}> {escape(view.name)}</label>'
            for i, view in enumerate(chart.views)
        )
        views = f'<div class="views" role="radiogroup" aria-label="Metric">{choices}</div>'
    numbers = "".join(_table(view.name, *view.table(chart.x_label)) for view in chart.views)
    return (
        f'<figure class="chart"><figcaption>{escape(chart.title)}</figcaption>{views}<div class="plot"></div>'
        f'<ul class="legend"></ul><output aria-live="polite"></output>'
        f"<details><summary>Numbers</summary>{numbers}</details></figure>"
    )


def _table(
    caption: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    best: Collection[tuple[int, int]] = (),
    own: Collection[str] = (),
) -> str:
    """A table; rows whose names are in `own` are marked as the network's, and the cells `best`, (row, column), are in bold."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = ""
    for row, (name, *values) in enumerate(rows):
        classes = [' class="best"' if (row, column) in best else "" for column in range(1, len(values) + 1)]
        listed = "".join(f"<td{mark}>{escape(cell)}</td>" for mark, cell in zip(classes, values, strict=True))
        mark = ' class="own"' if name in own else ""
        body += f'<tr{mark}><th scope="row">{escape(name)}</th>{listed}</tr>'
    table = f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    # Wide tables scroll by themselves, which a keyboard can do only in an element with focus.
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">{table}</div>'


def _definitions(values: Mapping[str, Any]) -> str:
    """A definition list; each entry of a dict has a line of its own."""
    listed = ""
    for name, value in values.items():
        lines = [f"{key}: {_plain(part)}" for key, part in value.items()] if isinstance(value, dict) else [_plain(value)]
        listed += f"<dt>{escape(str(name))}</dt>" + "".join(f"<dd>{escape(line)}</dd>" for line in lines)
    return f"<dl>{listed}</dl>"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(part) for part in value)
    return str(value)


def _list(remarks: Sequence[str]) -> str:
    return f'<ul class="remarks">{"".join(f"<li>{escape(remark)}</li>" for remark in remarks)}</ul>' if remarks else ""


def _section(name: str, heading: str, body: str) -> str:
    title = f'<h2 id="{name}-heading">{escape(heading)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-heading">{title}\n{body}\n</section>'
