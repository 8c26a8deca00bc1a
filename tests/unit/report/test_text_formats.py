from tierwise.report.tables import Table
from tierwise.report.text_formats import csv_text, latex_text, markdown_text

TABLE = Table("t", "A table", ("name_1", "value"), [["a|b_c & <d>", 0.123456], ["e,f", None]])


def test_csv_keeps_every_digit_and_quotes_what_needs_it():
    assert csv_text(TABLE) == 'name_1,value\na|b_c & <d>,0.123456\n"e,f",\n'


def test_markdown_escapes_what_would_break_a_table():
    assert "| a\\|b\\_c & \\<d\\> | 0.1235 |" in markdown_text(TABLE)


def test_latex_escapes_its_own_characters_and_aligns_numbers_to_the_right():
    text = latex_text(TABLE)
    assert r"\begin{tabular}{lr}" in text
    assert r"a|b\_c \& \textless{}d\textgreater{} & 0.1235 \\" in text
