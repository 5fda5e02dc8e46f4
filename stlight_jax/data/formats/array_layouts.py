"""The axes of an array in a file, as the user names them or as its shape tells."""

from stlight_jax.errors import InputError

FORECASTS = "forecasts"  # a layout: forecasts as programs save them
_AUTO_LAYOUTS = {2: "hw", 3: "thw", 4: "thwc", 5: "nthwc"}
_MAX_FORECAST_CHANNELS = 4  # of arrays whose axes are told apart by their sizes
_MAX_AUTO_CHANNELS = 16
_MIN_AUTO_ROWS = 5


def resolve_layout(label: str, shape: tuple[int, ...], layout: str) -> str:
    """Returns a letter of "nthwc" for each axis of an array.

    Args:
      label: the array's name in messages.
      shape: the array's shape.
      layout: the user's layout, "auto" or `FORECASTS`.

    Raises:
      InputError: the array is empty, the layout has another number of axes, or "auto" would be a guess.
    """
    if 0 in shape:
        raise InputError(f"{label} has shape {list(shape)}; expected at least one frame and one pixel")
    if layout == FORECASTS:
        layout = _forecast_layout(label, shape)
    if layout == "auto":
        if len(shape) not in _AUTO_LAYOUTS:
            raise InputError(f"{label} has shape {list(shape)}; expected frames: [t, h, w], [t, h, w, c] or [n, t, h, w, c]")
        layout = _AUTO_LAYOUTS[len(shape)]
        sizes = dict(zip(layout, shape, strict=True))
        channels = sizes.get("c", 1)
        if channels > _MAX_AUTO_CHANNELS or (sizes["h"] < _MIN_AUTO_ROWS and sizes["h"] < channels):
            others = {4: "nthw or tchw", 5: "ntchw"}[len(shape)]
            raise InputError(
                f"{label} has shape {list(shape)}; read as [{', '.join(layout)}] its frames are {sizes['h']} x {sizes['w']} "
                f"with {channels} channels; name its axes, e.g. --config.data.layout={others} or {layout}"
            )
        if len(shape) == 3 and sizes["w"] < _MIN_AUTO_ROWS <= min(sizes["t"], sizes["h"]):
            raise InputError(
                f"{label} has shape {list(shape)}; read as [t, h, w] its frames are {sizes['h']} x {sizes['w']}; name its "
                "axes, e.g. --config.data.layout=hwc for one frame with channels, or thw"
            )
    if len(layout) != len(shape):
        raise InputError(
            f"{label} has shape {list(shape)}; --config.data.layout={layout} asks for {len(layout)} axes", key="layout"
        )
    return layout


def _forecast_layout(label: str, shape: tuple[int, ...]) -> str:
    """Returns the axes of saved forecasts, which have their channels after time, as OpenSTL does, or last, or no such axis."""
    last = shape[-1] <= _MAX_FORECAST_CHANNELS
    if len(shape) == 5:
        first = shape[2] <= _MAX_FORECAST_CHANNELS
        if first == last:
            raise InputError(
                f"{label} has shape {list(shape)}; name the axis of its channels with --layout=ntchw or --layout=nthwc"
            )
        return "ntchw" if first else "nthwc"
    if len(shape) not in (3, 4):
        raise InputError(
            f"{label} has shape {list(shape)}; expected [n, t, c, h, w], [n, t, h, w, c] or [n, t, h, w], or one forecast: "
            "[t, h, w] or [t, h, w, c]"
        )
    return "thw" if len(shape) == 3 else "thwc" if last else "nthw"
