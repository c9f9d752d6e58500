"""How tables, counts and numbers with errors are printed."""

import numpy as np

from workflows.terminal import table, tally, with_error, with_last_digit


def test_a_number_is_written_to_the_second_digit_of_its_error():
    assert with_error(-5.51213, 0.00234) == "-5.5121 ± 0.0023"
    assert with_error(24.213, 1.8) == "24.2 ± 1.8"
    assert with_error(1234.5, 56.0) == "1234 ± 56"
    assert with_error(0.25, 0.0) == "0.25 ± 0"


def test_an_error_stands_in_units_of_the_last_digit():
    assert with_last_digit(0.0712, 0.0018) == "0.071(2)"
    assert with_last_digit(3.14159, 0.25) == "3.1(2)"
    assert with_last_digit(123.4, 12.0) == "123(12)"
    assert with_last_digit(0.5, np.nan) == "0.5"


def test_equal_texts_are_counted():
    assert tally(np.array(["unjammed", "converged", "converged"])) == "2 converged, 1 unjammed"


def test_a_table_has_a_column_per_header():
    found = table("title", ("name", "number"), [("a", "1"), ("b", "2")], left=("name",))
    assert [column.justify for column in found.columns] == ["left", "right"]
    assert found.row_count == 2
