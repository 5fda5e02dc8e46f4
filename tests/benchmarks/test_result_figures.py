"""Figures on pages are those of recorded results."""

import json
import re
import statistics

import gallery
import pytest
import tutorials
from real_data_sets import RUNS

from stlight_jax import InputError
from stlight_jax.data.load import check_config
from stlight_jax.inference import trained
from tests.conftest import ROOT
from tests.test_documented_blocks import missing_lines
from tests.test_documented_commands import check, commands_of

PAGES_OF_RUNS = {
    "fmi_radar": "fmi_2017", "kitti": "kitti", "knmi_radar": "knmi", "kth": "kth", "taxinyc": "taxinyc",
    "taxinyc_raw": "taxinyc_raw", "temperature": "climate",
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(gallery.pages()), ids=lambda path: path.stem)
def test_pages_of_results_are_as_written_by_the_benchmark(path):
    assert path.read_text() == gallery.pages()[path], "run: python benchmarks/gallery.py"


@pytest.mark.parametrize(("page", "run"), PAGES_OF_RUNS.items())
def test_a_page_of_the_gallery_has_the_command_of_the_benchmark(page, run):
    text = (ROOT / "benchmarks" / "gallery" / f"{page}.md").read_text()
    train, evaluate = commands_of(re.search(r"```sh\n(.*?)```", text, re.DOTALL)[1])
    expected = RUNS[run]
    config = check(train).config
    for key, value in expected.keys.items():
        section, name = key.split(".")
        assert config[section][name] == value, key
    assert {word.split("=")[0] for word in train if word.startswith("--config.")} == {
        "--config.data.root", *(f"--config.{key}" for key in expected.keys)
    }  # fmt: skip
    assert set(evaluate[3:]) == {"--checkpoint=best", *expected.evaluation}


def test_the_page_of_the_digits_has_the_commands_of_the_shipped_networks():
    text = (ROOT / "benchmarks" / "gallery" / "moving_mnist.md").read_text()
    for name, block in zip(("moving_mnist", "tiny"), re.findall(r"```sh\n(.*?)```", text, re.DOTALL), strict=True):
        train, _ = commands_of(block)
        config = check(train).config
        config.data.root = ""
        assert check_config(config).to_dict() == check_config(trained.describe(name)["config"]).to_dict()


def cells(page, label):
    """The cells of the rows of a page's table that begin with a label."""
    rows = [line.strip("| ").split(" | ") for line in (ROOT / page).read_text().splitlines() if line.startswith(f"| {label} |")]
    assert rows, label
    return rows


def number(text):
    return float(re.match(r"[\d.,]+", text)[0].replace(",", ""))


@pytest.mark.parametrize(("row", "size", "phase"), [
    ("training step, d 256, depth 16, batch 4", "d256", "train"),
    ("prediction, d 256, depth 16, batch 4", "d256", "throughput"),
    ("prediction, d 256, depth 16, batch 1", "d256", "latency"),
    ("training step, d 256, depth 16, bfloat16, batch 4", "d256_bfloat16", "train"),
    ("prediction, d 256, depth 16, bfloat16, batch 1", "d256_bfloat16", "latency"),
    ("training step, `XS` (d 800, depth 16), batch 2", "XS", "train"),
    ("prediction, `XS` (d 800, depth 16), batch 2", "XS", "throughput"),
    ("prediction, `XS` (d 800, depth 16), batch 1", "XS", "latency"),
])  # fmt: skip
def test_speeds_are_recorded_medians(row, size, phase):
    summary = json.loads((ROOT / "benchmarks" / "results" / "speed" / f"speed_{size}.json").read_text())["summary"]
    medians = {mode: 1000 * figures["median"] for mode, figures in summary["seconds"][phase].items()}
    torch = min(value for mode, value in medians.items() if mode.startswith("torch:"))
    ((_, *shown),) = cells("docs/explanation/speed.md", row)
    ours, best, ratio = map(number, shown[:3])
    assert (round(ours), round(best)) == (round(medians["jax:auto"]), round(torch))
    assert ratio == round(torch / medians["jax:auto"], 1)


@pytest.mark.parametrize(("row", "program"), [
    ("MMNIST L, bfloat16, v5e 4x4", "MMNIST L, bfloat16, v5e 4x4, 16 per chip"),
    ("on v5e 16x16, 256 chips", "v5e 16x16"),
    ("on v4 2x2x4, 16 chips", "v4 2x2x4"),
    ("on v6e 4x4", "v6e 4x4"),
    ("float32", "float32"),
    ("depthwise convolutions as sums of taps", "depthwise as tap sums"),
    ("`rematerialise=blocks`", "blocks rematerialised"),
    ("XS", "XS"),
    ("KTH L, 4 per chip", "KTH L, 4 per chip"),
])  # fmt: skip
def test_bounds_on_tpus_are_recorded_ones(row, program):
    record = json.loads((ROOT / "benchmarks" / "results" / "tpu" / "tpu.json").read_text())["programs"][program]
    bound = record["bound_not_a_measurement"]
    ((_, memory, tera, giga, least, most),) = cells("docs/explanation/tpu_bounds.md", row)
    recorded = (
        (memory, record["memory"]["total"] / 2**30), (tera, record["flops"] / 1e12), (giga, record["bytes_moved"] / 1e9),
        (least, 1000 * bound["seconds_per_step"]), (most, bound["sequences_per_second"]),
    )  # fmt: skip
    for shown, value in recorded:
        assert number(shown) == pytest.approx(value, rel=0.03), shown
    assert {"memory": "main memory", "products": "matrix units"}[bound["limited_by"]] in least


def test_the_agreement_with_pytorch_is_the_recorded_one():
    page = (ROOT / "docs/tutorials/from_openstl_and_pytorch.md").read_text()
    record = json.loads((ROOT / "benchmarks" / "results" / "parity" / "parity.json").read_text())
    cases = record["cases"].values()
    limit, predictions, gradients, loss = map(float, re.search(
        r"with PyTorch to (\S+) or better.*predictions agree to (\S+) and gradients to (\S+)\. .*mean loss to (\S+)",
        page.replace("\n", " "),
    ).groups())  # fmt: skip
    assert max(deviations["float64"] for case in cases for deviations in case.values()) < limit
    assert max(case["prediction"]["float32"] for case in cases) < predictions
    assert max(case["gradients"]["float32"] for case in cases) < gradients
    assert abs(record["curves"]["difference"]) < loss


@pytest.mark.parametrize("page", ["first_forecast", "train_and_resume", "your_own_frames"])
def test_outputs_in_a_tutorial_are_recorded_ones(page):
    record = (ROOT / "benchmarks" / "results" / "tutorials" / f"{page}.txt").read_text()
    text = (ROOT / "docs" / "tutorials" / f"{page}.md").read_text()
    shown = re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert shown
    assert [missing_lines(block, record) for block in shown] == [[] for _ in shown], f"benchmarks/tutorials.py --page={page}"


@pytest.mark.parametrize("page", ["first_forecast", "train_and_resume", "your_own_frames"])
def test_tables_and_verdicts_of_a_tutorial_are_those_that_its_benchmark_writes(page):
    record = (ROOT / "benchmarks" / "results" / "tutorials" / f"{page}.txt").read_text()
    path = ROOT / "docs" / "tutorials" / f"{page}.md"
    assert tutorials.refreshed(path, record).split() == path.read_text().split(), f"benchmarks/tutorials.py --page={page}"


TABLE_AND_VERDICT = (
    "┃ a ┃ MSE ┃ MAE ┃ skill ┃\n│ STLight, step 20 │ 1.5 │ 2 │ - │\n│ other │ 3 │ 4 │ 50 % │\n└──┘\n"
    "Overall, STLight is 50 % below\nit.\n\nmore\n"
)


def test_figures_of_a_record_replace_those_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "1.2\n```text\n┃ a ┃ MSE ┃ skill ┃\n│ STLight, step 5 │ 7 │ - │\n```\n```text\nOverall, STLight is 3 % below it.\n```\n"
        "```text\nstep 5\n```\n"
    )
    assert tutorials.refreshed(page, TABLE_AND_VERDICT) == (
        "1.2\n```text\n┃ a                ┃ MSE ┃ skill ┃\n│ STLight, step 20 │ 1.5 │     - │\n```\n"
        "```text\nOverall, STLight is 50 % below it.\n```\n```text\nstep 5\n```\n"
    )


@pytest.mark.parametrize(
    ("block", "record", "message"),
    [
        ("┃ a ┃ MSE ┃\n│ STLight │ 7 │", "", "no table of the record has the columns 'a, MSE' and the rows 'STLight'"),
        ("┃ a ┃ SSIM ┃\n│ STLight, step 5 │ 7 │", TABLE_AND_VERDICT, "the columns 'a, SSIM' and the rows 'STLight, step 5'"),
        ("┃ a ┃ MSE ┃\n│ STLight, step 5 │ 7 │\n│ third │ 7 │", TABLE_AND_VERDICT, "the rows 'STLight, step 5, third'"),
        ("Overall, STLight is 3 % below it.", TABLE_AND_VERDICT.partition("Overall")[0], "the record has no verdict"),
    ],
)
def test_a_table_or_verdict_that_the_record_lacks_is_an_error(tmp_path, block, record, message):
    page = tmp_path / "page.md"
    page.write_text(f"```text\n{block}\n```\n")
    with pytest.raises(InputError, match=f"^{re.escape(str(page))}: .*{message}"):
        tutorials.refreshed(page, record)


def test_conditional_lines_of_a_template_keep_their_blank_lines():
    template = "b\n{{if real_data/none}}a\n{{if real_data/kth}}\n{{if real_data/kth}}c\n"
    assert gallery.fill(template) == "b\n\nc\n"
    assert gallery.fill("{{if real_data/none}}\na\n") == ""
    assert gallery.fill("{{if real_data/kth}}\na\n") == "a\n"


def test_figures_have_three_digits():
    assert [gallery.digits(value) for value in (0.0034905, 6.578, 26.36, 623.9)] == ["0.00349", "6.58", "26.4", "624"]
    assert [gallery.digits(value) for value in (9527.4, 19_988)] == ["9527", "20,000"]


def test_the_time_of_trainings_is_the_recorded_one():
    records = (ROOT / "benchmarks" / "results" / "real_data" / "knmi").glob("seed_*.json")
    minutes = [json.loads(record.read_text())["seconds"] / 60 for record in records]
    shown = re.findall(r"\d+(?= to| minutes)", gallery.fill("{{runs real_data/knmi}}"))
    assert (int(shown[0]), int(shown[-1])) == (pytest.approx(min(minutes), abs=0.5), pytest.approx(max(minutes), abs=0.5))


def test_filled_paragraphs_are_wrapped_and_tables_are_not():
    long = "word " * 60
    filled = gallery.fill(f"{long}\n- {long}\n> {long}\n\n| {long}|\n```text\n{long}\n```\n").split("\n")
    assert [len(line) > 120 for line in filled] == [False] * 9 + [False, True, False, True, False, False]
    assert [line[:2] for line in filled[3:9]] == ["- ", "  ", "  ", "> ", "> ", "> "]


@pytest.mark.parametrize(
    ("run", "label"),
    [
        ("kth", "KTH"),
        ("kitti", "KITTI"),
        ("knmi", "KNMI radar"),
        ("fmi_2017", "FMI radar, trained on 2016"),
        ("fmi_2016", "FMI radar, trained on 2017"),
    ],
)
def test_errors_of_maps_fitted_to_few_windows_are_those_of_the_record(run, label):
    record = json.loads((ROOT / "benchmarks" / "results" / "few_windows" / f"{run}.json").read_text())
    cells = [label, str(len(record["fits"])), str(record["windows"])]
    for error in ("mse 1", "mse 0.5", "mae 1", "mae 0.5"):
        values = [fit[error] for fit in record["fits"]]
        spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
        cells.append(f"{statistics.median(values):.3f}{spread}")
    assert f"| {' | '.join(cells)} |" in (ROOT / "docs" / "explanation" / "shortcut.md").read_text()
