"""Figures of matplotlib, as PNG files."""

from PIL import Image

from stlight_jax.reports.charts import training_charts
from stlight_jax.reports.figures import draw_loss_curve


def test_loss_curve_is_drawn_even_of_a_run_without_validation(tmp_path):
    training = [{"step": step, "loss": 1 / step} for step in range(1, 50)]
    draw_loss_curve(tmp_path / "x.png", training, [])
    assert Image.open(tmp_path / "x.png").width > 800


def test_a_short_run_has_markers_and_the_error_before_its_first_step(tmp_path):
    training = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    validation = [{"step": step, "mse": 9.0 - step} for step in range(3)]
    draw_loss_curve(tmp_path / "x.png", training, validation, "shortcut flow alone (step 0)")
    assert Image.open(tmp_path / "x.png").width > 800
    loss, error = training_charts(training, validation, "shortcut flow alone (step 0)")
    assert list(loss.views[0].lines) == ["logged steps"]
    assert error.views[0].reference == (9.0, "shortcut flow alone (step 0)")
    assert training_charts(training, validation[1:])[1].views[0].reference is None
