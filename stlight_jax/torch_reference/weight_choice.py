"""The choice of the weights of a network among the tensors of a file: prefixes, names, averages and other tensors."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from stlight_jax.console.messages import print_message
from stlight_jax.errors import InputError
from stlight_jax.torch_reference.torch_pickle import UnsupportedTensor

# Names in networks built from the paper's own listing (appendix G) -> names in `torch_reference.network`.
_LISTING = (
    (r"patch_encoder\.0\.(.+)", r"patch_encoder.conv.\1"),
    (r"patch_encoder\.1\.(.+)", r"patch_encoder.norm.\1"),
    (r"net\.(\d+)\.0\.fn\.0\.(.+)", r"mixers.\1.near.\2"),
    (r"net\.(\d+)\.0\.fn\.1\.(.+)", r"mixers.\1.far.\2"),
    (r"net\.(\d+)\.0\.fn\.3\.(.+)", r"mixers.\1.spatial_norm.\2"),
    (r"net\.(\d+)\.1\.0\.(.+)", r"mixers.\1.pointwise.\2"),
    (r"net\.(\d+)\.1\.2\.(.+)", r"mixers.\1.pointwise_norm.\2"),
    (r"patch_reassemble\.(?:\d+\.)?(weight|bias)", r"patch_reassembly.conv.\1"),
)
COUNTER = "num_batches_tracked"  # of PyTorch's batch norms; prediction does not use it
_COUNTERS = (COUNTER, "n_averaged", "steps", "num_updates", "decay")  # the others belong to averages
_STATISTICS = ("running_mean", "running_var")
_AVERAGE = re.compile(r"[Aa]verag|[Ss]hadow|[Pp]olyak|(?<![a-z])(?:ema|swa|avg)(?![a-z])|EMA|Ema|SWA|Avg")
_PREFIX_PARTS = 30  # at most
_Names = dict[str, str]  # name in the network -> name in the file


class WeightChoice:
    """Chooses the weights of a network among all tensors of a file.

    Args:
      state_dicts: {path of a container in the file: {name: tensor}}, see `weight_files.read_weights`.
      shapes: name of each weight in `torch_reference.network` -> its shape.
      key_map: see `weights.variables_from_torch`.
      source: the file, for messages.

    Raises:
      InputError: no tensor has a name of the network, a name is not a string, or two tensors have the same name.
    """

    def __init__(
        self,
        state_dicts: Mapping[str, Mapping[str, Any]],
        shapes: Mapping[str, tuple[int, ...]],
        key_map: Mapping[str, str] | None,
        source: str,
    ):
        self._shapes, self._source, self._key_map = shapes, source, key_map or {}
        self._translate = _translator(self._key_map)
        self._tensors: dict[str, Any] = {}
        self._homes: dict[str, str] = {}
        self._candidates: dict[str, _Names] = {}  # by the prefix of the names in the file
        for home, tensors in state_dicts.items():
            for name, tensor in tensors.items():
                if not isinstance(name, str):
                    raise InputError(f"{source} has names that are not strings; expected a state_dict")
                full_name = f"{home}.{name}" if home else name
                if full_name in self._tensors:
                    raise InputError(f"{source} has two tensors of the name {shorten([full_name])}")
                self._tensors[full_name], self._homes[full_name] = tensor, home
        for full_name in self._tensors:
            for start in (0, *(dot.end() for dot in itertools.islice(re.finditer(r"\.", full_name), _PREFIX_PARTS))):
                target = self._translate(full_name[start:], full_name)
                if target in shapes:
                    self._candidates.setdefault(full_name[:start], {}).setdefault(target, full_name)
        if not self._candidates:
            raise InputError(
                f"{source} is not of this network; its {len(self._tensors)} tensors are {shorten(self._tensors)}; expected "
                f"names such as {next(iter(shapes))}, or --key_map that translates names"
            )
        self._used: set[str] = set()
        self._fits = [prefix for prefix in self._candidates if self._fit(prefix)]
        self._complete_averages()
        self._used = {name for prefix in self._fits for name in self._candidates[prefix].values()}

    def choose(self, key: str | None = None, ignore_unexpected: bool = False) -> dict[str, Any]:
        """Chooses the weights, and prints which tensors are left out.

        Args:
          key: the prefix of the weights in the file; None for the average, if the file has averaged and raw weights.
          ignore_unexpected: whether to leave tensors out that are beside the weights; they are an error otherwise.

        Returns:
          Name in `torch_reference.network` -> tensor, with the counters of the batch norms.

        Raises:
          InputError: weights are missing, of another shape, not unique, or beside others.
        """
        prefix = self._prefix(key)
        names, beside = self._candidates[prefix], self._beside(prefix)
        self._check_key_map(prefix)
        unexpected = [name for name in beside if name.startswith(prefix)]
        if prefix not in self._fits or (unexpected and not ignore_unexpected):
            advice = "; --ignore_unexpected leaves them out" if prefix in self._fits else ""
            problems = self._problems(prefix) | {"unexpected": unexpected}
            raise InputError(f"{self._source} is not of this network; {describe_problems(problems)}{advice}")
        if beside:
            print_message(f"{self._source}: left out, not of this network: {shorten(beside)}")
        is_average = _AVERAGE.search(prefix) or self._is_swapped()
        rest = [name for name in self._tensors if name not in self._used and not _is_counter(name)]
        averages = [name for name in rest if _AVERAGE.search(name.rpartition(".")[0])]
        if averages and not is_average and key is None:
            print_message(
                f"{self._source} also has averaged weights that do not fit this network, {shorten(averages)}; the weights "
                f"of {_key(prefix)} are taken"
            )
        counters = {  # of the same norms as the statistics
            name.replace("running_var", COUNTER): self._tensors[full_name.replace("running_var", COUNTER)]
            for name, full_name in names.items()
            if name.endswith("running_var") and full_name.replace("running_var", COUNTER) in self._tensors
        }
        return {**counters, **{name: self._tensors[names[name]] for name in self._shapes}}

    def _problems(self, prefix: str) -> dict[str, list[str]]:
        """Describes why a candidate does not fit the network; tensors in the network's own parts are unexpected."""
        names = self._candidates[prefix]
        parts = {name.split(".")[0] for name in self._shapes}
        own = [name for name in self._beside(prefix) if name.startswith(prefix)]
        targets = {name: self._translate(name.removeprefix(prefix), name) for name in own}
        found = {name: self._tensors[full_name] for name, full_name in names.items()}
        unsupported = {name: found.pop(name).kind for name in names if isinstance(found[name], UnsupportedTensor)}
        return {
            "missing": [name for name in self._shapes if name not in names],
            "repeated": [name for name, target in targets.items() if target in names],
            "unexpected": [name for name, target in targets.items() if target.split(".")[0] in parts],
            "misshapen": [
                f"{name} {list(np.shape(tensor))} instead of {list(self._shapes[name])}"
                for name, tensor in found.items()
                if tuple(np.shape(tensor)) != self._shapes[name]
            ],
            "not plain dense": [f"{name} ({kind})" for name, kind in unsupported.items()],
        }

    def _fit(self, prefix: str) -> bool:
        return not any(self._problems(prefix).values())

    def _beside(self, prefix: str) -> list[str]:
        """Returns the names beside a candidate's that no other candidate uses, in the same containers."""
        used = {*self._candidates[prefix].values(), *self._used}
        homes = {self._homes[name] for name in self._candidates[prefix].values()}
        return [name for name, home in self._homes.items() if home in homes and name not in used and not _is_counter(name)]

    def _complete_averages(self) -> None:
        """Adds averages of the parameters alone, with the statistics of the raw weights' batch norms.

        Some tools average what `named_parameters` yields, under names without dots in latent diffusion's LitEma.
        """
        raw = [prefix for prefix in self._fits if not _AVERAGE.search(prefix)]
        if len(raw) != 1:
            return
        names = self._candidates[raw[0]]
        squeezed = {re.sub(r"[._]", "", full.removeprefix(raw[0])): name for name, full in names.items()}
        for full_name in self._tensors:
            folder, _, last = full_name.rpartition(".")
            if folder and last.replace("_", "") in squeezed:
                self._candidates.setdefault(f"{folder}.", {})[squeezed[last.replace("_", "")]] = full_name
        for prefix in [prefix for prefix in self._candidates if _AVERAGE.search(prefix) and prefix not in self._fits]:
            problems = self._problems(prefix)
            missing = problems.pop("missing")
            if missing and all(name.endswith(_STATISTICS) for name in missing) and not any(problems.values()):
                self._candidates[prefix] |= {name: names[name] for name in missing}
                self._fits.append(prefix)

    def _check_key_map(self, prefix: str) -> None:
        names = {*self._tensors, *(name.removeprefix(prefix) for name in self._tensors)}
        unused = [
            theirs
            for theirs, ours in self._key_map.items()
            if not any(map(re.compile(_pattern(theirs, ours)[0]).fullmatch, names))
        ]
        if unused:
            raise InputError(f"the key map has names that no weight has: {shorten(unused)}; correct or remove them")

    def _prefix(self, key: str | None) -> str:
        """Chooses a candidate by its key, or the one that fits, or the average of several."""
        wanted = f"{key}." if key else ""

        def under(prefixes: Iterable[str]) -> list[str]:
            exact = [prefix for prefix in prefixes if key is not None and prefix == wanted]
            return exact or [prefix for prefix in prefixes if prefix.startswith(wanted)]

        fits = self._without_copies(under(self._fits))
        if len(fits) == 1:
            return fits[0]
        if fits:
            return self._average(fits)
        candidates = under(self._candidates)
        if not candidates:
            has = shorten(map(_key, self._fits or self._candidates))
            raise InputError(f"--weights_key={key}: {self._source} has no weights of this network there; expected one of {has}")
        return max(candidates, key=lambda prefix: (len(self._candidates[prefix]), len(prefix)))

    def _without_copies(self, prefixes: list[str]) -> list[str]:
        """Drops candidates with the same tensors as another; the longest prefix remains."""
        kept: list[str] = []
        for prefix in sorted(prefixes, key=len, reverse=True):
            names = self._candidates[prefix]
            if not any(
                all(_equal(self._tensors[names[name]], self._tensors[self._candidates[other][name]]) for name in names)
                for other in kept
            ):
                kept.append(prefix)
        return kept

    def _average(self, prefixes: list[str]) -> str:
        if self._is_swapped():
            averages = [prefix for prefix in prefixes if prefix.startswith("state_dict.")]
        else:
            marks = {
                prefix: len(_AVERAGE.findall(prefix)) + (f"{prefix.removesuffix('module.')}n_averaged" in self._tensors)
                for prefix in prefixes
            }
            averages = [prefix for prefix in prefixes if marks[prefix] == max(marks.values())]
        keys = sorted(map(_key, prefixes))
        if len(averages) != 1:
            raise InputError(
                f"{self._source} has weights of this network under {shorten(keys)}; choose with --weights_key={keys[0]}"
            )
        others = [key for key in keys if key != _key(averages[0])]
        print_message(
            f"{self._source} has averaged and raw weights; the average, {_key(averages[0])}, is taken; "
            f"--weights_key={others[0]} takes {'the raw ones' if len(others) == 1 else 'others: ' + shorten(others)}"
        )
        return averages[0]

    def _is_swapped(self) -> bool:
        """Whether `state_dict` is the average, as in files of Lightning's WeightAveraging and mmengine's EMAHook."""
        return "ema_state_dict.steps" in self._tensors or any(n.startswith("current_model_state.") for n in self._tensors)


def describe_problems(problems: Mapping[str, list[str]]) -> str:
    """Describes problems in one short line.

    Args:
      problems: kind of problem -> names.
    """
    return "; ".join(f"{len(names)} {kind}: {shorten(names)}" for kind, names in problems.items() if names)


def shorten(names: Iterable[str]) -> str:
    """Joins the first names, and counts the others.

    Args:
      names: names in a file, with any characters.
    """
    names = ["".join(c if c.isprintable() else "?" for c in name) for name in names]
    first = ", ".join(name if len(name) <= 100 else f"{name[:97]}..." for name in names[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"


def _key(prefix: str) -> str:
    return prefix.removesuffix(".") or '""'


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] in _COUNTERS


def _equal(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b))


def _translator(key_map: Mapping[str, str]) -> Callable[[str, str], str]:
    """Returns a function of a name without and with its prefix that returns the name in the network."""
    patterns = [_pattern(*names) for names in key_map.items()] or _LISTING
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in patterns]

    def translate(name: str, full_name: str) -> str:
        for pattern, replacement in compiled:
            match = pattern.fullmatch(full_name) or pattern.fullmatch(name)
            if match:
                return match.expand(replacement)
        return name

    return translate


def _pattern(theirs: str, ours: str) -> tuple[str, str]:
    if theirs.count("{i}") != ours.count("{i}") or ours.count("{i}") > 1:
        raise InputError(f"key map: {theirs!r} -> {ours!r}; {{i}}, a block's number, stands once on both sides or on neither")
    pattern = re.escape(theirs).replace(re.escape("{i}"), r"(?P<i>\d+)")
    return pattern, ours.replace("\\", r"\\").replace("{i}", r"\g<i>")
