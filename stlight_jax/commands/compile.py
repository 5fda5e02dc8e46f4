"""`python -m stlight_jax compile`: whether a config fits a slice of a TPU pod, and how fast it may be there at best.

No TPU is needed: the training step of `train.py` and the program of `Predictor` are compiled ahead of time by the TPU's own
compiler (libtpu, extra `[tpu-aot]`) and read: memory, arithmetic, traffic, collectives. Times that follow from a chip's
published peaks are bounds.
"""

from __future__ import annotations

import jax
from absl import flags
from etils import epath
from ml_collections import config_flags

from stlight_jax.commands.inspect import chosen_frame_size
from stlight_jax.console.messages import print_message
from stlight_jax.storage.json_files import write_json
from stlight_jax.storage.paths import create_folder
from stlight_jax.tpu_planning import tpu_table
from stlight_jax.tpu_planning.chips import describe
from stlight_jax.tpu_planning.compile_all import compile_all
from stlight_jax.tpu_planning.compile_plan import Plan

JSON, TEXT, PLOT = "compile.json", "compile.txt", "compile.png"


def define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "File in configs/, with a size: configs/moving_mnist.py:L.")
    flags.DEFINE_list("topology", None, "Slices, comma-separated: CHIP:LAYOUT, such as v5e:4x4 or v4:2x2x4.")
    flags.DEFINE_integer("batch_per_chip", 16, "Sequences per chip and step.", lower_bound=1)
    flags.DEFINE_bool("search", True, "Search the largest batch per chip that fits the first slice (several compilations).")
    flags.DEFINE_string("frame_size", None, "HEIGHTxWIDTH of the frames, where the config does not say.")
    flags.DEFINE_string("out", None, f"Folder for {JSON}, {TEXT} and {PLOT}; nothing is written without.")
    flags.mark_flags_as_required(["config", "topology"])


def main() -> None:
    given = flags.FLAGS
    jax.config.update("jax_platforms", "cpu")  # an accelerator that is there has no part in this
    jax.config.update("jax_enable_compilation_cache", False)  # what is compiled for no device cannot be read back
    plan = Plan(given.config, chosen_frame_size(given.config, given.frame_size))
    slices = [describe(name) for name in given.topology]
    if given.out:
        create_folder(epath.Path(given.out))
    title = f"STLight {given.config.dataset} {given.config.size}, {plan.model_config.dtype}"
    programs, search = compile_all(plan, slices, given.batch_per_chip, given.search)
    model = plan.model_config
    results = tpu_table.as_json(title, programs, slices[0].name, search, model.hidden_dim, model.patch_size)
    text = tpu_table.as_text(results)
    if given.out:
        out = epath.Path(given.out)
        write_json(out / JSON, results)
        (out / TEXT).write_text(text)
        trained = [one for one in results["programs"] if one["program"] == "training" and "does_not_fit" not in one]
        if trained:
            labels = [f"{program['topology']}, {program['batch_per_chip']} per chip" for program in trained]
            tpu_table.draw(out / PLOT, labels, trained, title)
        print_message(f"{', '.join((JSON, TEXT, PLOT))} are in {out}")
    print(text, end="")
