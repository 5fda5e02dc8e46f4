"""Carries out the runs of the study, and writes its page.

    python -m benchmarks.study run --data=FOLDER [--only=plus,mnist32-paper-0.003-seed1] [--minutes=60]
    python -m benchmarks.study page

FOLDER holds mnist/, taxinyc/, radar_knmi/ and kth_openstl_clips/. `run` carries out all runs that have no record, in order of
importance, and writes a record of each to benchmarks/results/study, and the page. It can be stopped at any time; the same
command resumes. Several processes with the same `--workdirs` share the list. `page` writes docs/explanation/study.md and its
chart from the records.
"""

import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.run_command import run_command
from stlight_jax.errors import InputError

_RECORDS = pathlib.Path(__file__).parent.parent / "results" / "study"


def _define_run(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    del arguments
    flags.DEFINE_string("data", None, "Folder with the data sets.", values)
    flags.DEFINE_list("only", [], "Names of questions and runs; empty for all.", values)
    flags.DEFINE_float("minutes", 0, "Time after which no run is started; 0 for no limit.", 0, None, values)
    flags.DEFINE_string("records", str(_RECORDS), "Folder of the records.", values)
    flags.DEFINE_string("workdirs", "runs/study", "Folder of unfinished runs.", values)
    flags.mark_flag_as_required("data", values)


def _run(values: flags.FlagValues) -> None:
    from benchmarks.study import page
    from benchmarks.study.runner import carry_out
    from benchmarks.study.runs import chosen_runs

    records, workdirs = pathlib.Path(values.records), pathlib.Path(values.workdirs)

    def write_page() -> None:
        if records == page.RECORDS:
            page.PAGE.write_text(page.load_page())

    carry_out(chosen_runs(values.only), values.data, records, workdirs, values.minutes, write_page)


def _write_page(values: flags.FlagValues) -> None:
    del values
    from benchmarks.study import page

    page.draw_chart()
    page.PAGE.write_text(page.load_page())
    print(f"wrote {page.PAGE}")


COMMANDS = {
    "run": Command(__doc__, _define_run, _run),
    "page": Command(__doc__, lambda values, arguments: None, _write_page),
}


def main() -> None:
    """Runs the command that the first argument names."""
    name, *rest = sys.argv[1:] or [""]
    if name not in COMMANDS:
        print(f"error: no command {name!r}; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(InputError.exit_status)
    run_command(COMMANDS[name], [f"python -m benchmarks.study {name}", *rest])


if __name__ == "__main__":
    main()
