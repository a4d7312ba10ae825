from hypothesis import given
from hypothesis import strategies as st
from thinkpool_pipeline.knowledge.tables import row_blocks, table_lines

VALUES = st.none() | st.text(st.sampled_from("ab |\n漢"), max_size=400)


def test_rows_are_a_table_under_the_columns():
    assert list(table_lines(["id", "a|b"], [["1", None], ["2", "x\n y|z"]])) == [
        "| id | a\\|b |",
        "| --- | --- |",
        "| 1 | NULL |",
        "| 2 | x y\\|z |",
    ]


def test_sections_number_their_rows_and_repeat_the_columns():
    blocks = list(row_blocks(["id"], [[str(number)] for number in range(1, 52)]))
    assert [block.text for block in blocks[::2]] == ["Rows 1 to 25", "Rows 26 to 50", "Row 51"]
    assert blocks[5].text == "| id |\n| --- |\n| 51 |"
    assert {block.kind for block in blocks[1::2]} == {"table"}


def test_a_long_value_is_text_of_its_own_under_its_row():
    rows = [["1", "short"], ["2", "Long words. " * 30 + "\n\nSecond paragraph."], ["3", None]]
    blocks = list(row_blocks(["id", "body"], rows))
    assert [block.text for block in blocks if block.kind == "heading"] == ["Row 1", "Row 2", "Row 3"]
    texts = [block.text for block in blocks if block.kind == "text"]
    assert texts[0] == "id: 2"
    assert texts[1].startswith("body: Long words. Long words.")
    assert texts[2] == "Second paragraph."


def test_no_rows_make_no_blocks():
    assert not list(row_blocks(["id"], []))


@given(st.lists(st.tuples(VALUES, VALUES), max_size=60))
def test_every_value_is_in_the_blocks_and_every_row_is_numbered_once(rows):
    blocks = list(row_blocks(["one", "two"], rows))
    said = " ".join(block.text for block in blocks).replace("\\|", "|")
    for row in rows:
        for value in row:
            assert all(" ".join(part.split()) in said for part in (value or "").split("\n\n"))
    numbered = [block.text.replace("Rows ", "").replace("Row ", "") for block in blocks if block.kind == "heading"]
    ends = [(int(text.split(" to ")[0]), int(text.split(" to ")[-1])) for text in numbered]
    assert [number for first, last in ends for number in range(first, last + 1)] == list(range(1, len(rows) + 1))
    assert all(len(block.text) < 2_000 for block in blocks if block.kind == "table")
