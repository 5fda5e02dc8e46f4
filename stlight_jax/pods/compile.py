"""`python -m stlight_jax compile`: whether a config fits a slice of a TPU pod, and how fast it may be there at best.

No TPU is needed: the training step of `train.py` and the program of `Predictor` are compiled ahead of time by the TPU's own
compiler (libtpu, extra `[tpu-aot]`) and read: memory, arithmetic, traffic, collectives. Times that follow from a chip's
published peaks are bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
from absl import flags
from etils import epath
from ml_collections import config_flags

from stlight_jax.errors import InputError
from stlight_jax.model.count import chosen_frame_size
from stlight_jax.pods import report
from stlight_jax.pods.chips import Slice, describe
from stlight_jax.pods.plan import Compiled, Misfit, Plan, Search, TooLargeError, largest_batch
from stlight_jax.progress import say
from stlight_jax.training.log import write_json
from stlight_jax.training.workdir import make_writable

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
        make_writable(epath.Path(given.out))
    title = f"STLight {given.config.dataset} {given.config.size}, {plan.model_config.dtype}"
    programs, search = compile_all(plan, slices, given.batch_per_chip, given.search)
    model = plan.model_config
    results = report.as_json(title, programs, slices[0].name, search, model.hidden_dim, model.patch_size)
    text = report.as_text(results)
    if given.out:
        out = epath.Path(given.out)
        write_json(out / JSON, results)
        (out / TEXT).write_text(text)
        trained = [one for one in results["programs"] if one["program"] == "training" and "does_not_fit" not in one]
        if trained:
            labels = [f"{program['topology']}, {program['batch_per_chip']} per chip" for program in trained]
            report.draw(out / PLOT, labels, trained, title)
        say(f"{', '.join((JSON, TEXT, PLOT))} are in {out}")
    print(text, end="")


def compile_all(plan: Plan, slices: Sequence[Slice], batch: int, search: bool) -> tuple[list[Compiled | Misfit], Search | None]:
    """The training step for each slice, that of the largest batch that a search finds, and prediction for each chip.

    Args:
      batch: sequences per chip.
      search: whether to search, on the first slice.

    Raises InputError if the training step fits none of them.
    """
    programs = [_fitted(slice_, "training", plan.training, batch) for slice_ in slices]
    tried = {batch: programs[0]}
    found = _search(plan, slices[0], tried, batch) if search else None
    if found is not None and found.fits not in (0, batch):
        programs.append(tried[found.fits])
    if all(isinstance(program, Misfit) for program in programs):
        raise InputError(
            f"the training step does not fit a {slices[0].chip.name} chip with {batch} sequences; give a smaller "
            "--batch_per_chip, --config.model.rematerialise=blocks or --config.model.dtype=bfloat16"
        )
    for slice_ in {slice_.chip.name: slice_ for slice_ in reversed(slices)}.values():
        programs.append(_fitted(slice_, "prediction", plan.prediction, batch))
    return programs, found


def _fitted(slice_: Slice, kind: str, compile_for: Callable[[Slice, int], Compiled], batch: int) -> Compiled | Misfit:
    """Compiles and says so."""
    chips = f"{len(slice_.devices)} chips of {slice_.name}" if kind == "training" else f"a {slice_.chip.name} chip"
    say(f"compiling {kind} for {chips}, {batch} sequences each (minutes) ...")
    try:
        compiled = compile_for(slice_, batch)
    except TooLargeError as error:
        say(f"  does not fit{'' if error.needed is None else f': temporaries alone take {error.needed / 2**30:.1f} GiB'}")
        return Misfit(kind, slice_, batch, error.needed)
    say(f"  fits: {compiled.memory.total / 2**30:.2f} of {slice_.chip.hbm_bytes / 2**30:.0f} GiB, {compiled.seconds:.0f} s")
    return compiled


def _search(plan: Plan, slice_: Slice, tried: dict[int, Compiled | Misfit], start: int) -> Search:
    """Adds what it compiles to `tried`."""

    def compiled_at(batch: int) -> Compiled:
        if batch not in tried:
            tried[batch] = _fitted(slice_, "training", plan.training, batch)
        found = tried[batch]
        if isinstance(found, Misfit):
            raise TooLargeError(found.needed)
        return found

    # The batch is the second dimension of tiles of 8 x 128.
    fine = plan.config.train.accumulate
    step = math.lcm(8 if start >= 8 else 1, fine)
    return largest_batch(compiled_at, slice_.chip.hbm_bytes, -(-start // step) * step, step, 8, fine)
