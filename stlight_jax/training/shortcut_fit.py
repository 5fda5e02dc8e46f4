"""The fit of a shortcut's linear map to the training data, before the first step."""

import jax
import jax.numpy as jnp
import numpy as np

from stlight_jax.data.sequences import EvenlySpaced, Sequences
from stlight_jax.evaluation.ridge import FurtherInputs, fit_linear, known_frames
from stlight_jax.model.context import first_pass, horizon_of
from stlight_jax.model.shortcut import fill_from_neighbours, smoothed_inputs, unfitted_kernel
from stlight_jax.model.stlight_config import MOVING_SHORTCUTS, STLightConfig
from stlight_jax.parallel import agreement
from stlight_jax.training.flow_fit import fit_flow_linear


def fitted_linear(
    model: STLightConfig, training: Sequences, validation: Sequences, loss: str = "squared"
) -> dict[str, np.ndarray]:
    """Fits the linear map of a shortcut by ridge regression, in the first process.

    Args:
      model: The network, with the shortcut "linear" or "flow_linear".
      training: Training sequences.
      validation: Validation sequences, which choose the strength of the regularisation of "linear".
      loss: `train.loss`, which the map of "flow_linear" minimises.

    Returns:
      The parameters "kernel", `[inputs, t'*c']`, see `unfitted_kernel`, and "bias", `[t'*c']`, float32. Lead times beyond the
      horizon of the training, which the network predicts and no window has, repeat the last frame or the flow's forecast.
      Periods that hardly any training window knows have no weight.
    """
    weights = None
    if jax.process_index() == 0:
        out_frames = min(model.out_frames, *(horizon_of(model, source.shape[0]) for source in (training, validation)))
        context = EvenlySpaced(training, len(training), first_pass(model, training.shape[0], 1)[: model.context_frames])
        seen = [*known_frames(context, model.context_frames), *range(model.context_frames, model.seen_frames)]
        sampled = []
        for source in (training, validation):
            frames = first_pass(model, source.shape[0], out_frames)
            chosen = [*(frames[index] for index in seen), *frames[model.seen_frames :]]
            sampled.append(EvenlySpaced(source, len(source), chosen))
        if model.shortcut in MOVING_SHORTCUTS:
            kernel, bias = fit_flow_linear(sampled[0], model, len(seen), out_frames, loss)
        else:
            further = _smoothed(model, len(seen)) if model.smoothed_copies else None
            fit = fit_linear(sampled[0], sampled[1], len(seen), out_frames, model.out_channels, further)
            kernel, bias = fit.kernel, fit.bias
        weights = {"seen": seen, "kernel": kernel.tolist(), "bias": bias.tolist()}
    fitted = {name: np.asarray(value) for name, value in agreement.broadcast_from_first(weights).items()}
    outputs, count = model.out_frames * model.out_channels, len(fitted["bias"])
    kernel, bias = np.array(unfitted_kernel(model, (model.shortcut_inputs, outputs))), np.zeros(outputs, np.float32)
    kernel[:, :count] = 0
    kernel[_fitted_rows(model, fitted["seen"], count), :count], bias[:count] = fitted["kernel"], fitted["bias"]
    return {"kernel": kernel, "bias": bias}


def shrunk(model: STLightConfig, fit: dict[str, np.ndarray], share: float) -> dict[str, np.ndarray]:
    """Returns a fit that keeps a share of what it adds to the last frame or the flow's forecast.

    A map that is fitted to few windows changes a forecast too much more often than too little. Maps of "flow_linear" for ten
    triples of KTH's training windows had a test MSE of 0.81 to 1.34 of the flow's, their halves one of 0.78 to 0.98; on radar
    of two storms, 0.96 and 1.03 became 0.95 and 0.97 (benchmarks/few_windows.py).

    Args:
      model: The network, with the shortcut of the fit.
      fit: Parameters as from `fitted_linear`.
      share: The share, from 0 to 1.
    """
    if share == 1:
        return fit
    start = np.asarray(unfitted_kernel(model, fit["kernel"].shape))
    return {"kernel": start + share * (fit["kernel"] - start), "bias": share * fit["bias"]}


def _smoothed(model: STLightConfig, seen: int) -> FurtherInputs:
    """Makes the smoothed inputs of "linear" in a fit with some of the frames that the network sees."""

    def smoothed(frames: jax.Array, valid: jax.Array | None) -> jax.Array:
        recent = slice(frames.shape[1] - model.in_frames, None)
        inputs, known = frames[:, recent], None
        if valid is not None:
            known = valid[:, recent]
            inputs = fill_from_neighbours(inputs, known, model.in_frames)
        return jnp.concatenate(smoothed_inputs(model, inputs, valid=known), axis=-1)  # [b, h, w, n]

    compiled, count = jax.jit(smoothed), model.fitted_inputs(seen, model.out_frames) - seen * model.in_channels
    return FurtherInputs(count, lambda frames, valid: np.asarray(compiled(frames.astype(np.float32), valid)))


def _fitted_rows(model: STLightConfig, seen: np.ndarray, count: int) -> np.ndarray:
    """Returns the rows of a kernel that a fit has, in its order.

    Args:
      model: The network.
      seen: Indices of the frames in the fit, of all that the network sees.
      count: Number of outputs in the fit, the first ones.
    """
    of_flow = model.out_frames * model.out_channels if model.shortcut in MOVING_SHORTCUTS else 0
    flow = np.arange(min(of_flow, count))
    recent = np.arange(model.in_frames * (model.in_channels - model.covariates))
    frames = (seen[:, None] * model.in_channels + np.arange(model.in_channels)).ravel()
    first = model.seen_frames * model.in_channels
    parts = [frames, first + flow]
    first += of_flow
    for _ in range(model.shortcut_scales):
        parts += [first + recent, first + len(recent) + flow]
        first += len(recent) + of_flow
    return np.concatenate(parts)
