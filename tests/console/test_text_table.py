"""Text tables keep every cell as it is."""

import pytest

from stlight_jax.console.text_table import text_table


def test_cells_are_aligned_and_markup_stays_text():
    lines = text_table(["", "value"], [["[bold]a", "1"], None, ["b", "[1] 2.5"]], "[x] title", width=60).splitlines()
    assert lines[0].strip() == "[x] title"
    assert lines[4] == "│ [bold]a │       1 │"
    assert lines[5].startswith("├")
    assert lines[6] == "│ b       │ [1] 2.5 │"


@pytest.mark.parametrize("width", [24, 30, 40, 80])
def test_a_wide_table_becomes_several_that_fit(width):
    rows = [["name", *(f"{row}.{column:02}" for column in range(10))] for row in range(3)]
    lines = text_table(["", *map(str, range(10))], [rows[0], None, *rows[1:]], "title", width).splitlines()
    assert max(map(len, lines)) <= width
    per_table = {24: 2, 30: 3, 40: 4, 80: 10}[width]  # a cell takes 4 characters and 3 around it, the name 8
    heads = [line.strip("┃ ").replace("┃", " ").split() for line in lines if line.startswith("┃")]
    assert [cell for head in heads for cell in head] == [str(column) for column in range(10)]
    assert max(map(len, heads)) <= per_table
    assert len(heads) == -(-10 // per_table)
    of_last = [line.strip("│ ").replace("│", " ").split() for line in lines if line.startswith("│") and " 2." in line]
    assert [cells[0] for cells in of_last] == ["name"] * len(heads)
    assert [cell for cells in of_last for cell in cells[1:]] == rows[2][1:]


def test_the_width_is_that_of_the_terminal(monkeypatch):
    row = ["a"] * 20
    for width, tables in ((33, 3), (50, 2), (81, 1)):  # 19 columns of 4 characters after the first one
        monkeypatch.setenv("COLUMNS", str(width))
        lines = text_table(row, [row]).splitlines()
        assert max(map(len, lines)) <= width
        assert sum(line.startswith("└") for line in lines) == tables


def test_a_row_may_lack_cells():
    assert "│ b │   │" in text_table(["a", "1"], [["b"]], width=20)
