"""Writes the gallery and the results on real data in docs/, with all figures from the recorded results.

    python benchmarks/gallery.py

The pages are templates in benchmarks/gallery/; README.md there is one section of the README. In a template, RECORD is a folder
in benchmarks/results/ and KEY a path in its JSON:

    {{RECORD KEY}}      a number, the mean over the seeds, with three digits
    {{table RECORD}}    the network and its best baselines
    {{runs RECORD}}     how long and how often the network was trained
    {{best RECORD}}     the MSE of the network, of the best baseline and of the last frame copied, as cells of a table
    {{speed KEY}}       how many times as fast as PyTorch, for two sizes
    {{step RECORD}}     the step of the best checkpoint, of each seed

A line that begins with {{if RECORD}} is left out as long as the record does not exist; so is the page if it is the first line.
"""

from __future__ import annotations

import json
import pathlib
import re
import statistics
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TEMPLATES = ROOT / "benchmarks" / "gallery"
_ELSEWHERE = {"results.md": "explanation"}  # all other pages are in docs/gallery
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
        path = ROOT / "docs" / _ELSEWHERE.get(template.name, "gallery") / template.name
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
    return re.sub(r"\{\{(\S+) ([^}]+)\}\}", lambda found: _field(*found.groups()), "".join(lines))


def digits(value: float) -> str:
    """Returns a number with three digits, and whole numbers from 100 on."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _files(record: str) -> list[pathlib.Path]:
    folder = RESULTS / record
    return sorted(folder.glob("seed_*.json")) or sorted(folder.glob("metrics.json"))


def _records(record: str) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in _files(record)]


def _field(name: str, rest: str) -> str:
    if name == "speed":
        return " / ".join(f"{_speed_ratio(RESULTS / 'speed' / f'speed_{size}.json', rest):.1f}" for size in ("d256", "XS"))
    if name in _SUMMARIES:
        return _SUMMARIES[name](_records(rest))
    values = [_value(record, rest) for record in _records(name)]
    if not values:
        raise SystemExit(f"error: {name} has no record in {RESULTS}; expected seed_*.json or metrics.json")
    return values[0] if isinstance(values[0], str) else digits(statistics.fmean(values))


def _value(record: Any, path: str) -> Any:
    for key in path.split("."):
        record = record[int(key) if isinstance(record, list) else key]
    return record


def _speed_ratio(file: pathlib.Path, phase: str) -> float:
    medians = {mode: figures["median"] for mode, figures in json.loads(file.read_text())["summary"]["seconds"][phase].items()}
    return min(seconds for mode, seconds in medians.items() if mode.startswith("torch:")) / medians["jax:auto"]


def _runs(records: list[dict[str, Any]]) -> str:
    seeds = f"the mean of {len(records)} seeds" if len(records) > 1 else "one seed"
    return f"{records[0]['minutes']:g} minutes of training on two cores, {seeds}"


def _steps(records: list[dict[str, Any]]) -> str:
    return ", ".join(str(record["checkpoint_step"]) for record in records)


def _best(records: list[dict[str, Any]]) -> str:
    errors = records[0]["overall"]
    best = min((key for key in records[0]["baselines"] if errors[key]["mse"] is not None), key=lambda key: errors[key]["mse"])
    cells = [
        _over_seeds([record["overall"]["stlight"] for record in records], "mse"),
        digits(errors[best]["mse"]),
        records[0]["baselines"][best]["label"],
        digits(errors["copy_last_frame"]["mse"]),
    ]
    return " | ".join(cells)


def _table(records: list[dict[str, Any]]) -> str:
    """The errors of the network, over all seeds, and those of the best baselines."""
    first, network = records[0], [record["overall"]["stlight"] for record in records]
    known = first.get("baselines") or _LABELS
    errors = {key: first["overall"][key] for key in known if (first["overall"].get(key) or {}).get("mse") is not None}
    best = sorted(errors, key=lambda key: errors[key]["mse"])[:_ROWS]
    rows = [["**STLight**", *(f"**{_over_seeds(network, key)}**" for key in ("mse", "mae")), ""]]
    for key in best:
        label = known[key]["label"] if first.get("baselines") else known[key]
        mse, mae = errors[key]["mse"], errors[key].get("mae")
        skill = statistics.fmean(_skill(record, key) for record in records)
        rows.append([label, digits(mse), "" if mae is None else digits(mae), f"{round(100 * skill)} %"])
    lines = [["forecast", "MSE", "MAE", "skill"], ["---"] * 4, *rows]
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
