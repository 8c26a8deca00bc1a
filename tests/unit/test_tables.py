from tierwise.tables import Table

TABLE = Table("t", "A table", ("name_1", "value"), [["a|b_c & <d>", 0.123456], ["e,f", None]])


def test_csv_keeps_every_digit_and_quotes_what_needs_it():
    assert TABLE.csv() == 'name_1,value\na|b_c & <d>,0.123456\n"e,f",\n'


def test_markdown_escapes_what_would_break_a_table():
    assert "| a\\|b\\_c & \\<d\\> | 0.1235 |" in TABLE.markdown()


def test_latex_escapes_its_own_characters_and_aligns_numbers_to_the_right():
    text = TABLE.latex()
    assert r"\begin{tabular}{lr}" in text
    assert r"a|b\_c \& \textless{}d\textgreater{} & 0.1235 \\" in text


def test_truth_is_true_for_programs_and_yes_for_people_and_no_number():
    table = Table("t", "A table", ("meets",), [[True], [False], [None]])
    assert table.csv() == 'meets\ntrue\nfalse\n""\n'
    assert table.markdown().endswith("| yes |\n| no |\n|  |\n")
    assert r"\begin{tabular}{l}" in table.latex()
    assert table.records() == [{"meets": True}, {"meets": False}, {"meets": None}]


def test_plain_text_has_its_columns_one_below_the_other():
    assert TABLE.text() == ("A table\n\nname_1       value\na|b_c & <d>  0.1235\ne,f\n")
