"""Writes the pages of results in docs/, with all figures from the recorded results.

    python benchmarks/gallery.py

The pages are templates in benchmarks/gallery/; README.md there is one section of the README. In a template, RECORD is a folder
in benchmarks/results/, or a JSON file there, and KEY a path in its JSON:

    {{RECORD KEY}}      a number, the mean over the seeds or the median of a list, with three digits; "KEY x 1e3" multiplies it
    {{table RECORD}}    the network and its best baselines
    {{runs RECORD}}     how long and how often the network was trained
    {{best RECORD}}     the MSE of the network, of the best baseline and of the last frame copied, as cells of a table
    {{step RECORD}}     the steps of the best checkpoints of the seeds, each once
    {{speeds SIZES}}    the table of the speed contest, SIZES with commas between them
    {{ratio SIZE TASK}} how many times as fast as the best mode of PyTorch
    {{bounds PROGRAM}}  memory, traffic and bounds of a program for TPUs, as cells of a table

A line that begins with {{if RECORD}} is left out as long as the record does not exist; so is the page if it is the first line.
"""

from __future__ import annotations

import json
import pathlib
import re
import statistics
import sys
import textwrap
from collections.abc import Iterable
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TEMPLATES = ROOT / "benchmarks" / "gallery"
_EXPLANATIONS = {"results.md", "speed.md", "tpu_bounds.md"}  # all other pages are in docs/gallery
_ROWS = 8
_LABELS = {
    "copy_last_frame": "copy last frame",
    "mean_of_inputs": "mean of the inputs",
    "best_constant_image": "best constant image (no forecast)",
}


def pages() -> dict[pathlib.Path, str]:
    """Returns the text of each page, by its path."""
    texts = {}
    for template in sorted(TEMPLATES.glob("*.md")):
        text = fill(template.read_text())
        path = ROOT / "docs" / ("explanation" if template.name in _EXPLANATIONS else "gallery") / template.name
        if template.name == "README.md":
            path, heading = ROOT / "README.md", text.partition("\n")[0]
            text = re.sub(rf"{heading}\n.*?(?=\n## )", lambda _, section=text: section, path.read_text(), flags=re.DOTALL)
        if text:
            texts[path] = text
    return texts


def fill(template: str) -> str:
    """Returns the text of a template; "" for a page of a record that does not exist."""
    lines = []
    for number, line in enumerate(template.splitlines(keepends=True)):
        condition = re.match(r"\{\{if (\S+)\}\}", line)
        if condition and not _files(condition[1]):
            if number == 0:
                return ""
        elif number or not condition:
            lines.append(line[condition.end() :] if condition else line)
    return _wrapped(re.sub(r"\{\{(\S+) ([^}]+)\}\}", lambda found: _field(*found.groups()), "".join(lines)))


def _wrapped(page: str) -> str:
    """Wraps paragraphs, items of lists and quotations at 120 characters; tables, pictures and blocks of code stay."""
    blocks: list[list[str]] = []
    code = False
    for line in page.split("\n"):
        fence = line.startswith("```")
        prose = bool(line) and not code and not fence and not line.startswith(("|", "![", "[![", "#"))
        follows = bool(blocks) and blocks[-1][0] == "prose" and not line.startswith(("- ", "> "))
        if prose and follows:
            blocks[-1].append(line.strip())
        else:
            blocks.append(["prose" if prose else "", line])
        code ^= fence
    return "\n".join(_paragraph(" ".join(lines)) if kind else lines[0] for kind, *lines in blocks)


def _paragraph(text: str) -> str:
    indent = {"- ": "  ", "> ": "> "}.get(text[:2], "")
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def digits(value: float) -> str:
    """Returns a number with three digits, and all digits of whole numbers from 100 to 10,000."""
    if abs(value) >= 10_000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _files(record: str) -> list[pathlib.Path]:
    folder = RESULTS / record
    if folder.is_file():
        return [folder]
    return sorted(folder.glob("seed_*.json")) or sorted(folder.glob("metrics.json"))


def _records(record: str) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in _files(record)]


def _field(name: str, rest: str) -> str:
    if name in _SUMMARIES:
        return _SUMMARIES[name](_records(rest))
    if name in _TABLES:
        return _TABLES[name](rest)
    path, _, factor = rest.partition(" x ")
    values = [_value(record, path) for record in _records(name)]
    if not values:
        raise SystemExit(f"error: {name} has no record in {RESULTS}; expected seed_*.json or metrics.json")
    if isinstance(values[0], str):
        return values[0]
    if isinstance(values[0], int) and not factor:
        return str(values[0])
    return digits(statistics.fmean(values) * float(factor or 1))


def _value(record: Any, path: str) -> Any:
    for key in path.split("."):
        record = record[int(key) if isinstance(record, list) else key]
    return statistics.median(record) if isinstance(record, list) else record


def _contest(size: str) -> dict[str, Any]:
    return json.loads((RESULTS / "speed" / f"speed_{size}.json").read_text())


def _milliseconds(contest: dict[str, Any], task: str) -> dict[str, float]:
    """The medians of all contestants, and the best one of PyTorch's."""
    medians = {mode: 1e3 * figures["median"] for mode, figures in contest["summary"]["seconds"][task].items()}
    return {**medians, "torch": min(value for mode, value in medians.items() if mode.startswith("torch:"))}


def _ratio(rest: str) -> str:
    size, task = rest.split()
    medians = _milliseconds(_contest(size), task)
    return f"{medians['torch'] / medians['jax:auto']:.1f}"


def _speeds(rest: str) -> str:
    contests = {size: _contest(size) for size in rest.split(",")}
    rows = [
        (f"{what}, {_SIZES[size]}, batch {1 if task == 'latency' else contest['batch']}", _milliseconds(contest, task))
        for size, contest in contests.items()
        for task, what in _TASKS.items()
    ]
    columns = {mode: label for mode, label in _CONTESTANTS.items() if any(mode in medians for _, medians in rows)}
    lines = [["", "ours", "best PyTorch", "ratio", *columns.values()], ["---"] * (4 + len(columns))]
    for label, medians in rows:
        ours, torch = medians["jax:auto"], medians["torch"]
        others = (digits(medians[mode]) if mode in medians else "" for mode in columns)
        lines.append([label, digits(ours), digits(torch), f"{torch / ours:.1f}", *others])
    return _markdown(lines)


def _bounds(program: str) -> str:
    record = json.loads((RESULTS / "tpu" / "tpu.json").read_text())["programs"][program]
    memory, bound = record["memory"], record["bound_not_a_measurement"]
    cells = [
        f"{memory['total'] / 2**30:.1f} of {memory['capacity'] / 2**30:.0f}",
        digits(record["flops"] / 1e12),
        digits(record["bytes_moved"] / 1e9),
        f"{digits(1e3 * bound['seconds_per_step'])} ms ({_LIMITS[bound['limited_by']]})",
        f"{digits(bound['sequences_per_second'])}",
    ]
    return " | ".join(cells)


def _runs(records: list[dict[str, Any]]) -> str:
    seeds = f"the errors are means of {len(records)} seeds" if len(records) > 1 else "the errors are of one seed"
    minutes = [round(record["seconds"] / 60) for record in records]  # --minutes is an aim, and 300 passes are the most
    took = " to ".join(map(str, sorted({min(minutes), max(minutes)})))
    return f"{took} minutes on two busy cores; {seeds}"


def _steps(records: list[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(str(record["checkpoint_step"]) for record in records))


def _best(records: list[dict[str, Any]]) -> str:
    known = records[0]["baselines"]
    errors = _baselines(records, known)
    best = min(errors, key=lambda key: errors[key]["mse"])
    cells = [
        _over_seeds([record["overall"]["stlight"] for record in records], "mse"),
        digits(errors[best]["mse"]),
        known[best]["label"],
        digits(errors["copy_last_frame"]["mse"]),
    ]
    return " | ".join(cells)


def _table(records: list[dict[str, Any]]) -> str:
    """The errors of the network, over all seeds, and those of the best baselines."""
    network = [record["overall"]["stlight"] for record in records]
    known = records[0].get("baselines") or _LABELS
    errors = _baselines(records, known)
    best = sorted(errors, key=lambda key: errors[key]["mse"])[:_ROWS]
    rows = [["**STLight**", *(f"**{_over_seeds(network, key)}**" for key in ("mse", "mae")), ""]]
    for key in best:
        label = known[key]["label"] if records[0].get("baselines") else known[key]
        mae = errors[key].get("mae")
        skill = statistics.fmean(_skill(record, key) for record in records)
        rows.append([label, digits(errors[key]["mse"]), "" if mae is None else digits(mae), f"{round(100 * skill)} %"])
    lines = [["forecast", "MSE", "MAE", "skill"], ["---"] * 4, *rows]
    return _markdown(lines)


def _baselines(records: list[dict[str, Any]], known: Iterable[str]) -> dict[str, dict[str, float]]:
    """Returns the MSE and the MAE of each baseline that all records have, mean over the records.

    Regressions see the earlier frames of a run's `data.periods`, so they differ between records.
    """
    found = {}
    for key in known:
        of_records = [record["overall"].get(key) or {} for record in records]
        measured = [name for name in ("mse", "mae") if all(errors.get(name) is not None for errors in of_records)]
        if "mse" in measured:
            found[key] = {name: statistics.fmean(errors[name] for errors in of_records) for name in measured}
    return found


def _markdown(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def _skill(record: dict[str, Any], baseline: str) -> float:
    """The recorded skill, on the sequences that both predict; records of version 0.1 have none."""
    if "skill" in record:
        return float(record["skill"]["against"][baseline]["overall"])
    return 1 - float(record["overall"]["stlight"]["mse"] / record["overall"][baseline]["mse"])


def _over_seeds(network: list[dict[str, float]], key: str) -> str:
    values = [each[key] for each in network]
    spread = f" ({digits(min(values))} to {digits(max(values))})" if len(values) > 1 else ""
    return digits(statistics.fmean(values)) + spread


_SUMMARIES = {"table": _table, "runs": _runs, "best": _best, "step": _steps}
_TABLES = {"ratio": _ratio, "speeds": _speeds, "bounds": _bounds}
_SIZES = {"d256": "d 256, depth 16", "d256_bfloat16": "d 256, depth 16, bfloat16", "XS": "`XS` (d 800, depth 16)"}
_TASKS = {"train": "training step", "throughput": "prediction", "latency": "prediction"}
_CONTESTANTS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "jax:native": "XLA's grouped convolution"}
_LIMITS = {"memory": "main memory", "products": "matrix units"}


def main() -> None:
    """Writes all pages."""
    for path, text in pages().items():
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(__doc__)
    else:
        main()
