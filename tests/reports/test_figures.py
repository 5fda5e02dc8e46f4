"""Figures of matplotlib, as PNG files."""

from PIL import Image

from stlight_jax.reports.figures import draw_loss_curve


def test_loss_curve_is_drawn_even_of_a_run_without_validation(tmp_path):
    training = [{"step": step, "loss": 1 / step} for step in range(1, 50)]
    draw_loss_curve(tmp_path / "x.png", training, [])
    assert Image.open(tmp_path / "x.png").width > 800
