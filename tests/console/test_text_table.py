"""Text tables keep every cell as it is."""

from stlight_jax.console.text_table import text_table


def test_cells_are_aligned_and_markup_stays_text():
    lines = text_table(["", "value"], [["[bold]a", "1"], None, ["b", "[1] 2.5"]], "[x] title", width=60).splitlines()
    assert lines[0].strip() == "[x] title"
    assert lines[4] == "│ [bold]a │       1 │"
    assert lines[5].startswith("├")
    assert lines[6] == "│ b       │ [1] 2.5 │"
