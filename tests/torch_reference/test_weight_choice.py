"""Weights among all tensors of a checkpoint: prefixes, averages beside raw weights, and tensors left over."""

import re

import numpy as np
import pytest

from stlight_jax import InputError
from stlight_jax.torch_reference.weight_choice import WeightChoice

SHAPES = {
    "patch_encoder.conv.weight": (2, 3),
    "patch_encoder.norm.running_var": (2,),
    **{f"mixers.{i}.near.weight": (2, 1) for i in range(2)},
    **{f"mixers.{i}.spatial_norm.running_{kind}": (2,) for i in range(2) for kind in ("mean", "var")},
    "patch_reassembly.conv.bias": (3,),
}


def weights(value, prefix="", depth=2):
    extra = {f"mixers.{i}.near.weight": (2, 1) for i in range(2, depth)}
    return {prefix + name: np.full(shape, value, np.float32) for name, shape in (SHAPES | extra).items()}


def parameters(value, prefix=""):
    return {name: array for name, array in weights(value, prefix).items() if "running" not in name}


def chosen_value(state_dicts, **options):
    """The value of all chosen weights."""
    chosen = WeightChoice(state_dicts, SHAPES, options.pop("key_map", None), "w.pt").choose(**options)
    found = {name: array for name, array in chosen.items() if name in SHAPES}
    assert {name: array.shape for name, array in found.items()} == SHAPES
    values = {value for array in found.values() for value in array.ravel()}
    assert len(values) == 1
    return values.pop()


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "model.",
        "module.",
        "net.",
        "_orig_mod.",
        "model.module.",
        "module._orig_mod.",
        "_forward_module.model.net.",
        "a.b.c.d.",
    ],
)
@pytest.mark.parametrize("home", ["", "state_dict", "model_state_dict", "model", "checkpoint.state"])
def test_any_prefix_and_any_wrapper_are_understood(home, prefix, capsys):
    optimizer = {"exp_avg": np.zeros(3), "exp_avg_sq": np.zeros(3)}
    counters = {f"{prefix}mixers.0.spatial_norm.num_batches_tracked": np.array(5)}
    assert chosen_value({home: weights(1, prefix) | counters, "optimizer.state.0": optimizer, "rng": {"cpu": np.zeros(9)}}) == 1
    assert not capsys.readouterr().err


def test_parts_of_the_network_in_containers_of_their_own_are_joined():
    parts = {}
    for name, array in weights(1).items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = array
    assert chosen_value(parts) == 1


AVERAGES = {
    "timm": ({"state_dict": weights(1), "state_dict_ema": weights(2)}, "state_dict"),
    "model_ema": ({"model": weights(1), "model_ema": weights(2)}, "model"),
    "ema of parameters and buffers": ({"model": weights(1), "ema": weights(2, "module.")}, "model"),
    "Lightning module": ({"state_dict": weights(1, "model.") | weights(2, "ema_model.")}, "state_dict.model"),
    "bare": ({"": weights(1) | weights(2, "ema.module.")}, ""),
    "Lightning callback": (
        {"state_dict": weights(1, "model."), "callbacks.EMA.ema_state_dict": weights(2)},
        "state_dict.model",
    ),
    "Lightning SWA": (
        {"state_dict": weights(1), "callbacks.StochasticWeightAveraging.average_model_state": weights(2)},
        "state_dict",
    ),
    "Lightning WeightAveraging": (
        {
            "state_dict": weights(2, "model."),
            "current_model_state": weights(1, "model."),
            "averaging_state": {"n_averaged": np.array(3)},
        },
        "current_model_state",
    ),
    "mmengine": (
        {"state_dict": weights(2), "ema_state_dict": weights(1, "module.") | {"steps": np.array(3)}},
        "ema_state_dict",
    ),
    "AveragedModel": ({"model": weights(1), "second": {"n_averaged": np.array(7)} | weights(2, "module.")}, "model"),
    "ema_pytorch": (
        {"ema": weights(1, "online_model.") | weights(2, "ema_model.") | {"initted": np.array(1)}, "model": weights(1)},
        "model",
    ),
    "torch_ema": ({"model": weights(1), "average_parameters": weights(2)}, "model"),
}


@pytest.mark.parametrize("tool", AVERAGES)
def test_the_average_is_taken_and_a_line_names_both(tool, capsys):
    state_dicts, raw = AVERAGES[tool]
    assert chosen_value(state_dicts) == 2
    message = capsys.readouterr().err
    assert "has averaged and raw weights; the average, " in message
    key = re.search(r'--weights_key=("")?(\S*) takes the raw ones', message)[2]
    assert chosen_value(state_dicts, key=key) == 1
    assert chosen_value(state_dicts, key=raw) == 1


@pytest.mark.parametrize(
    "average",
    [
        {"ema.shadow": parameters(1)},
        {"ema.shadow": parameters(1, "model.")},
        {"ema": {name.replace(".", "_"): array for name, array in parameters(1).items()}},
    ],
)
def test_an_average_of_parameters_alone_gets_the_raw_statistics(average, capsys):
    raw = weights(2) | {name: array - 1 for name, array in weights(2).items() if "running" in name}
    assert chosen_value({"model": raw, **average}) == 1
    assert "the average, ema" in capsys.readouterr().err
    with pytest.raises(AssertionError):  # the raw parameters differ from the statistics
        chosen_value({"model": raw, **average}, key="model")


def test_averages_in_the_names_of_latent_diffusion_are_understood():
    raw = weights(2, "model.") | {f"model.{name}": array - 1 for name, array in weights(2).items() if "running" in name}
    average = {f"model_ema.{name.replace('.', '')}": array for name, array in parameters(1).items()}
    assert chosen_value({"state_dict": raw | average | {"model_ema.decay": np.array(0.9)}}) == 1


def test_averages_that_do_not_fit_are_named(capsys):
    averages = {str(i): np.zeros(3) for i in range(30)}
    assert chosen_value({"state_dict": weights(1, "model."), "optimizer_states.0.ema": averages}) == 1
    message = capsys.readouterr().err
    assert "also has averaged weights that do not fit this network, optimizer_states.0.ema.0, " in message
    assert "and 27 more; the weights of state_dict.model are taken" in message


def test_several_weights_are_asked_about(capsys):
    both = {"": weights(1, "student.") | weights(2, "teacher.")}
    with pytest.raises(
        InputError, match="has weights of this network under student, teacher; choose with --weights_key=student"
    ):
        chosen_value(both)
    assert chosen_value(both, key="teacher") == 2
    assert chosen_value({"a": weights(1), "b": weights(1)}) == 1  # the same numbers
    with pytest.raises(InputError, match="choose with"):
        chosen_value({"model": weights(1), "ema_1": weights(2), "ema_2": weights(3)})
    with pytest.raises(
        InputError, match="--weights_key=x: w.pt has no weights of this network there; expected one of student, t"
    ):
        chosen_value(both, key="x")


def test_weights_of_another_size_in_the_file_do_not_hinder():
    small = {f"student.{name}": array[:1] for name, array in weights(2).items()}
    assert chosen_value({"": weights(1, "teacher.") | small}) == 1


def test_left_overs_are_named_shortly_and_can_be_ignored(capsys):
    metrics = {f"metrics.{i}.total": np.zeros(()) for i in range(50)}
    assert chosen_value({"state_dict": weights(1, "model.") | {"criterion.weight": np.ones(3)} | metrics}) == 1
    message = capsys.readouterr().err
    assert "left out, not of this network: state_dict.criterion.weight, state_dict.metrics.0.total, " in message
    assert "and 48 more" in message
    assert len(message) < 300

    bare = {"": weights(1) | {"criterion.weight": np.ones(3)} | metrics}
    with pytest.raises(
        InputError, match="51 unexpected: criterion.weight, .* and 48 more; --ignore_unexpected leaves"
    ) as caught:
        chosen_value(bare)
    assert len(str(caught.value)) < 300
    assert chosen_value(bare, ignore_unexpected=True) == 1
    assert "left out, not of this network: criterion.weight" in capsys.readouterr().err


@pytest.mark.parametrize("ignore_unexpected", [False, True])
def test_a_deeper_network_is_never_cut(ignore_unexpected):
    for prefix in ("", "model."):
        with pytest.raises(InputError, match=r"1 unexpected: (model\.)?mixers.2.near.weight$"):
            chosen_value({"": weights(1, prefix, depth=3)}, ignore_unexpected=ignore_unexpected)


@pytest.mark.parametrize("ignore_unexpected", [False, True])
def test_missing_weights_are_an_error_in_a_short_line(ignore_unexpected):
    state = weights(1, "model.")
    state.pop("model.mixers.1.near.weight")
    with pytest.raises(InputError, match="w.pt is not of this network; 1 missing: mixers.1.near.weight$"):
        chosen_value({"": state}, ignore_unexpected=ignore_unexpected)
    other = {f"layer{i}.{'x' * 300}\n.weight": np.zeros(3) for i in range(500)}
    with pytest.raises(InputError, match="its 500 tensors are layer0.xxx.* and 497 more; expected names such as") as caught:
        chosen_value({"": other}, ignore_unexpected=ignore_unexpected)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_the_counters_are_those_of_the_chosen_norms():
    counter = "patch_encoder.norm.num_batches_tracked"
    found = WeightChoice(
        {"model": weights(1) | {counter: np.array(3)}, "ema": weights(2) | {counter: np.array(9)}}, SHAPES, None, "w.pt"
    )
    assert found.choose()[counter] == 9
    assert found.choose("model")[counter] == 3
