"""Compiles a config for slices of a TPU pod, without a TPU: `stlight compile --config=moving_mnist:L --topology=v5e:4x4`.

The programs of training and prediction are compiled by the TPU's own compiler (libtpu, extra `[tpu-aot]`) and analysed: memory,
arithmetic, traffic, collectives. Times follow from a chip's published peaks; they are lower bounds, not measurements.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from stlight_jax.commands.command import Command
from stlight_jax.commands.config_flag import define_config_flag
from stlight_jax.commands.frame_size_flag import chosen_frame_size, define_frame_size_flag
from stlight_jax.console.messages import print_message

JSON, TEXT, PLOT = "compile.json", "compile.txt", "compile.png"


def _define_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    define_config_flag(values, arguments, required=True)
    flags.DEFINE_list(
        "topology", None, "Slices, separated by commas: CHIP:LAYOUT, such as v5e:4x4 or v4:2x2x4.", values, required=True
    )
    flags.DEFINE_integer("batch_per_chip", 16, "Sequences per chip and step.", lower_bound=1, flag_values=values)
    flags.DEFINE_bool(
        "search", True, "Search the largest batch per chip that fits the first slice, in several compilations.", values
    )
    define_frame_size_flag(values)
    flags.DEFINE_string("out", None, f"Folder for {JSON}, {TEXT} and {PLOT}; without it no file is written.", values)


def _run(values: flags.FlagValues) -> None:
    import jax
    from etils import epath

    from stlight_jax.data.data_sections import check_config
    from stlight_jax.reports.tpu_chart import draw_programs
    from stlight_jax.storage.json_files import write_json
    from stlight_jax.storage.paths import create_folder
    from stlight_jax.tpu_planning import tpu_table
    from stlight_jax.tpu_planning.chips import slice_by_name
    from stlight_jax.tpu_planning.compile_all import compile_all
    from stlight_jax.tpu_planning.compile_plan import CompilePlan

    jax.config.update("jax_platforms", "cpu")  # an accelerator of this machine has no part in this
    jax.config.update("jax_enable_compilation_cache", False)  # programs for absent devices cannot be read back
    config = check_config(values.config)
    plan = CompilePlan(config, chosen_frame_size(config, values.frame_size))
    slices = [slice_by_name(name) for name in values.topology]
    if values.out:
        create_folder(epath.Path(values.out))
    title = f"STLight {config.dataset} {config.size}, {plan.model_config.dtype}"
    programs, search = compile_all(plan, slices, values.batch_per_chip, values.search)
    results = tpu_table.as_json(title, plan.model_config, programs, search)
    text = tpu_table.as_text(results)
    if values.out:
        out = epath.Path(values.out)
        write_json(out / JSON, results)
        (out / TEXT).write_text(text)
        trained = [one for one in results["programs"] if one["program"] == "training" and "does_not_fit" not in one]
        if trained:
            labels = [f"{program['topology']}, {program['batch_per_chip']} per chip" for program in trained]
            draw_programs(out / PLOT, labels, trained, title)
        print_message(f"{', '.join((JSON, TEXT, PLOT))} are in {out}")
    print(text, end="")


COMMAND = Command(__doc__, _define_flags, _run)
