"""Imports of version 0.1 that have moved. They work with a DeprecationWarning that names the new module."""

import importlib
import pkgutil
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE = "stlight_jax."
# Module of version 0.1: the modules that its names are in now, the main one first.
MODULES = {
    "baseline": "torch_reference.weights",
    "baseline.compare": "torch_reference.compare",
    "baseline.convert": "torch_reference.convert",
    "baseline.files": "torch_reference.weight_files",
    "baseline.network": "torch_reference.network",
    "baseline.parity": "torch_reference.parity torch_reference.weights",
    "baseline.training": "torch_reference.torch_training",
    "baseline.weights": "torch_reference.weights",
    "caches": "storage.caches",
    "cli": "commands.run_command",
    "data.builders": "data.tfds_builders",
    "data.builders.base": "data.clips_builder data.raw_clips",
    "data.builders.frames": "data.datasets.frames data.frames_reader",
    "data.builders.kitti_caltech": "data.datasets.kitti_caltech",
    "data.builders.kth": "data.datasets.kth",
    "data.builders.moving_fashion_mnist": "data.datasets.moving_fashion_mnist",
    "data.builders.taxibj": "data.datasets.taxibj",
    "data.copies": "storage.copies",
    "data.moving_mnist": "data.datasets.moving_mnist data.moving_images",
    "data.npy": "data.formats.npy",
    "data.opening": "data.load",
    "data.readers": "data.formats",
    "data.readers.raw": "data.formats.types",
    "data.readers.sequences": "data.formats.input_files",
    "data.stored": "data.stored_frames data.prepared data.clip_windows",
    "evaluation.charts": "reports.charts",
    "evaluation.comparison": "reports.comparison",
    "evaluation.metrics": "metrics.metric_sums metrics.ssim evaluation.evaluator",
    "evaluation.page": "reports.page",
    "evaluation.pictures": "reports.pictures reports.figures",
    "evaluation.presentation": "scoring.evaluation_files",
    "evaluation.published": "data.datasets.published_tables",
    "evaluation.report": "reports.results reports.results_summary reports.results_text",
    "evaluation.run": "scoring.evaluate",
    "evaluation.score": "scoring.score",
    "evaluation.sharpness": "metrics.sharpness",
    "evaluation.sprites": "reports.sprites",
    "inference.along": "forecasting.forecast_windows",
    "inference.destination": "forecasting.outputs",
    "inference.plan": "forecasting.plan",
    "inference.predict": "forecasting.predict",
    "inference.programs": "inference.predictor",
    "inference.rollout": "model.rollout",
    "inference.tiled": "inference.tiles model.tiling",
    "inference.verification": "forecasting.forecast_results",
    "model.batch_norm": "model.ops.batch_norm",
    "model.channels": "model.ops.layers",
    "model.cpu_kernels": "model.ops.cpu_kernels",
    "model.depthwise": "model.ops.depthwise",
    "model.layers": "model.ops.layers",
    "pods": "tpu_planning",
    "pods.chips": "tpu_planning.chips",
    "pods.compile": "tpu_planning.compile_report",
    "pods.hlo": "tpu_planning.hlo_program tpu_planning.hlo_text",
    "pods.plan": "tpu_planning.compile_plan tpu_planning.compile_report",
    "pods.report": "tpu_planning.tpu_table",
    "pods.widths": "tpu_planning.tpu_table",
    "progress": "console.progress console.messages",
    "remote": "storage.paths storage.bucket",
    "training.checkpoint": "runs.checkpoint runs.checkpoint_writer training.saved_state",
    "training.clusters": "parallel.distributed",
    "training.distributed": "parallel.distributed parallel.agreement",
    "training.lease": "storage.locks",
    "training.log": "runs.metrics_log runs.environment storage.atomic",
    "training.parallel": "parallel.launchers",
    "training.preemption": "parallel.agreement",
    "training.workdir": "runs.workdir storage.locks storage.paths",
}
# Names of those modules that have changed, too.
NAMES = {
    "cli.run": "run_script",
    "pods.chips.describe": "slice_by_name",
    "pods.hlo.Program": "HloProgram",
    "pods.plan.Plan": "CompilePlan",
    "pods.widths.width": "lane_fit",
    "progress.say": "print_message",
    "training.log.environment": "describe_environment",
}

# Functions that have left a module of the same name.
FUNCTIONS = {"config.benchmark_data": "data.prepared_benchmark:BenchmarkSection.default_config"}


def moved_function(module: str, name: str) -> Any:
    """Returns a function that has left its module, for that module's `__getattr__`.

    Args:
      module: Name of the module.
      name: Name of the function.

    Raises:
      AttributeError: Version 0.1 had no such function there.
    """
    new = FUNCTIONS.get(f"{module.removeprefix(_PACKAGE)}.{name}")
    if new is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    place = (_PACKAGE + new).replace(":", ".")
    message = f"{module}.{name} has moved to {place}; version 0.3 will not have the old name"
    warnings.warn(message, DeprecationWarning, stacklevel=3)
    return pkgutil.resolve_name(_PACKAGE + new)


class _Finder:
    """Finds and makes the modules of `MODULES`."""

    @classmethod
    def find_spec(cls, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Returns the spec of an old module; None for any other name."""
        old = fullname.removeprefix(_PACKAGE)
        if not fullname.startswith(_PACKAGE) or old not in MODULES:
            return None
        return ModuleSpec(fullname, cls(), is_package=any(name.startswith(f"{old}.") for name in MODULES))  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Lets Python make an empty module."""

    def exec_module(self, module: ModuleType) -> None:
        """Imports the new modules and makes their names those of the old one."""
        old = module.__name__.removeprefix(_PACKAGE)
        names = [_PACKAGE + name for name in MODULES[old].split()]
        warnings.warn(
            f"{module.__name__} has moved to {' and '.join(names)}; version 0.3 will not have the old name",
            DeprecationWarning,
            stacklevel=2,
        )
        sources = [importlib.import_module(name) for name in names]

        def get(name: str) -> object:
            new = NAMES.get(f"{old}.{name}", name)
            for source in sources:
                if hasattr(source, new):
                    return getattr(source, new)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}; see {' and '.join(names)}")

        module.__getattr__ = get  # type: ignore[method-assign]


def find_moved_modules() -> None:
    """Makes the old names importable.

    The finder goes first, because that of an editable installation might find them in another, older checkout.
    """
    sys.meta_path.insert(0, _Finder)
