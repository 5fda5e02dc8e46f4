"""Results as one page that opens from a disk, without a network: tables, charts, and an animated gallery.

`page.html` is its frame, `page.css` and `page.js` are put into it. What users name (data, configs, sequences) reaches it as
escaped text, or as JSON that cannot end the script element it stands in; a policy in the page forbids it to load anything.
"""

from __future__ import annotations

import json
import pathlib
import string
from collections.abc import Collection, Iterable, Sequence
from html import escape
from typing import Any

from etils import epath

from stlight_jax.reports import comparison, tables
from stlight_jax.reports.charts import Chart, lead_time_chart, sharpness_chart, training_charts
from stlight_jax.reports.sprites import Clip, gallery
from stlight_jax.storage.atomic import write_atomic
from stlight_jax.storage.json_files import finite

_HERE = pathlib.Path(__file__)
_SHARPNESS = (
    "Sharpness: squared differences between neighbouring pixels of the predictions, summed, over those of the true frames. "
    "1 is as sharp as the truth, less is blur, more is noise. Being sharp is not being right. "
)
_PLAYER = """<div id="player" class="player" role="group" tabindex="0"
 aria-label="Animated sequences: space plays and pauses, the arrow keys step">
<div class="controls">
<button type="button" id="play">Play</button>
<label class="position">Frame <input type="range" id="scrubber" min="0" max="0" value="0" step="1"></label>
<span id="where" class="where"></span>
<label>Speed <select id="speed"><option value="0.5">&frac12;&times;</option><option value="1" selected>1&times;</option>
<option value="2">2&times;</option><option value="4">4&times;</option></select></label>
</div>
<div id="clips" class="clips"></div>
</div>
<noscript><p>The animation needs JavaScript.</p></noscript>"""


def write_page(
    path: epath.PathLike,
    *,
    title: str,
    subtitle: str = "",
    remarks: Sequence[str] = (),
    results: dict[str, Any] | None = None,
    clips: Sequence[Clip] = (),
    gallery_title: str = "Sequences",
    gallery_remarks: Sequence[str] = (),
    sharpness: dict[str, Any] | None = None,
    training: dict[str, Sequence[dict[str, Any]]] | None = None,
    config: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Writes a page, in one step, to any disk or bucket. What is not given has no heading in it.

    Args:
      path: of the file, in a folder that is there.
      title, subtitle, remarks: text for its head.
      results: of `tables.as_json`, read from `metrics.json` or not; or as much of it as `tables.summary` needs.
      clips: for the gallery, in order. About 6 MB of pictures are taken in; see `sprites.gallery`.
      gallery_title, gallery_remarks: its heading, and what is said below it.
      sharpness: "per_lead_time", and how many "sequences" of a test set it was measured on, or how many "windows" of a
        forecast.
      training: "train" and "validation", lines of the metrics log.
      config: plain data, shown as it is.
      provenance: name -> text, number, or a dict or list of such.

    Raises InputError if it cannot be written.
    """
    charts: list[Chart] = []

    def drawn(some: Iterable[Chart]) -> str:
        some = list(some)
        first = len(charts)
        charts.extend(some)
        return f'<div class="charts">{"".join(_chart(chart, first + i) for i, chart in enumerate(some))}</div>'

    shown, said = gallery(clips) if clips else ([], [])
    sections = []
    if results is not None:
        sections.append(_section("metrics", "Metrics", _metrics(results)))
    if shown:
        sections.append(_section("gallery", gallery_title, _PLAYER + _list([*gallery_remarks, *said])))
    against_lead_time = [] if results is None else [lead_time_chart(tables.summary(results).lead_times)]
    explained = ""
    if sharpness is not None:
        against_lead_time.append(sharpness_chart(sharpness))
        sample = f"Measured on {sharpness['sequences']:,} sequences, evenly spaced." if "sequences" in sharpness else ""
        if "windows" in sharpness:
            count = sharpness["windows"]
            sample = f"Measured on {'all ' * (count > 1)}{count:,} forecast{'s' * (count > 1)} with truth."
        explained = _list([_SHARPNESS + sample])
    if against_lead_time:
        sections.append(_section("lead-time", "Lead time", drawn(against_lead_time) + explained))
    curves = training_charts(training.get("train", ()), training.get("validation", ())) if training else []
    if curves:
        sections.append(_section("training", "Training", drawn(curves)))
    if provenance:
        sections.append(_section("provenance", "Provenance", _definitions(provenance)))
    if config:
        text = escape(json.dumps(finite(config), indent=2, ensure_ascii=False, default=str))
        shut = f'<details><summary>All keys</summary><pre tabindex="0">{text}</pre></details>'
        sections.append(_section("config", "Config", shut))
    page = string.Template(_HERE.with_suffix(".html").read_text()).substitute(
        title=escape(title),
        subtitle="".join(f"<p>{escape(text)}</p>" for text in (subtitle, *remarks) if text),
        sections="\n".join(sections),
        style=_HERE.with_suffix(".css").read_text(),
        script=_HERE.with_suffix(".js").read_text(),
        data=_json({"clips": shown, "charts": [chart.as_json() for chart in charts]}),
    )
    ascii_only = page.encode("ascii", "xmlcharrefreplace").decode()  # the same in whatever encoding it is written and read
    write_atomic(epath.Path(path), ascii_only)


def _json(content: Any) -> str:
    """For a script element, which only `<` could end or turn into another."""
    return json.dumps(finite(content), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _metrics(results: dict[str, Any]) -> str:
    said = tables.summary(results)
    headings, rows = tables.cells(said.rows)
    body = _table(["", *headings], rows, said.title, [name for name in said.rows if name.startswith("STLight")])
    body += _list(said.remarks)
    quantiles = results.get("sequence_mse", {}).get("quantiles")
    if quantiles:
        names = [f"{float(q):.0%}" for q in quantiles]
        values = [["MSE", *(f"{value:.4g}" for value in quantiles.values())]]
        table = _table(["of the sequences at most", *names], values, "MSE of single sequences")
        body += f"<details><summary>Spread over the sequences</summary>{table}</details>"
    if results.get("published") is not None:
        ours = tables.ours(results)
        published = comparison.side_by_side(results["published"], ours)
        table = _table(["", *published.headings], [*published.ours, *published.theirs], published.title, ours)
        body += f"<h3>Published results</h3>{table}{_list(published.remarks)}"
    return body


def _chart(chart: Chart, number: int) -> str:
    """A figure that `page.js` draws into, with its numbers as tables."""
    views = ""
    if len(chart.views) > 1:
        choices = "".join(
            f'<label><input type="radio" name="view-{number}" value="{i}"{"" if i else " checked"}> {escape(view.name)}</label>'
            for i, view in enumerate(chart.views)
        )
        views = f'<div class="views" role="radiogroup" aria-label="What is shown">{choices}</div>'
    tables = "".join(_table(*view.table(chart.x_label), view.name) for view in chart.views)
    return (
        f'<figure class="chart"><figcaption>{escape(chart.title)}</figcaption>{views}<div class="plot"></div>'
        f'<ul class="legend"></ul><output aria-live="polite"></output>'
        f"<details><summary>Numbers</summary>{tables}</details></figure>"
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], caption: str, own: Collection[str] = ()) -> str:
    """Args: own, names of rows that are to be marked as the network's."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = ""
    for name, *cells in rows:
        mark = ' class="own"' if name in own else ""
        listed = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body += f'<tr{mark}><th scope="row">{escape(name)}</th>{listed}</tr>'
    table = f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    # Wide tables scroll by themselves, which keyboards can do only where there is focus.
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">{table}</div>'


def _definitions(values: dict[str, Any]) -> str:
    """A dict's own entries stand on lines of their own."""
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
    headed = f'<h2 id="{name}-heading">{escape(heading)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-heading">{headed}\n{body}\n</section>'
