import pytest
from thinkpool_pipeline.citations import statements


def read(report: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(statement.text, statement.numbers) for statement in statements(report)]


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("The sky is blue [1].", [("The sky is blue", (1,))]),
        ("The sky is blue. [1]", [("The sky is blue.", (1,))]),
        ("The sky is blue.[1][2] More.", [("The sky is blue.", (1, 2))]),
        ("The sky is blue [1, 2].", [("The sky is blue", (1, 2))]),
        ("The sky is blue [1], [2], [1].", [("The sky is blue", (1, 2))]),
        ("One. Two [1]. Three [2].", [("Two", (1,)), ("Three", (2,))]),
        ("One. [1] Two. [2]", [("One.", (1,)), ("Two.", (2,))]),
        ("Blue sky [1] and green grass [2].", [("Blue sky", (1,)), ("and green grass", (2,))]),
        ("# A heading\n\nThe text [1].", [("The text", (1,))]),
        ("## A cited heading [1]\nText", [("A cited heading", (1,))]),
        ("Intro:\n- first [1]\n- second. [2]\n* third [3]", [("first", (1,)), ("second.", (2,)), ("third", (3,))]),
        ("1. first [1]\n2) second [2]", [("first", (1,)), ("second", (2,))]),
        ("> A quotation [1]\n> goes on [2]", [("A quotation", (1,)), ("goes on", (2,))]),
        ("A sentence over\ntwo lines [1].", [("A sentence over\ntwo lines", (1,))]),
        ("Dr. Smith and J. Doe of St. Ives met [1].", [("Dr. Smith and J. Doe of St. Ives met", (1,))]),
        ("It grew by 3.5 percent [1].", [("It grew by 3.5 percent", (1,))]),
        ("Really? Yes! It is… so [1].", [("so", (1,))]),
        ('He said: "Stop." Then he left [1].', [("Then he left", (1,))]),
        ("**Bold.** The *text* goes [1].", [("The *text* goes", (1,))]),
        ("天空是蓝色的。草是绿色的。[1]", [("草是绿色的。", (1,))]),
        ("Call `items[0]` now [1].", [("Call `items[0]` now", (1,))]),
        ("```\nx[1]\n```\nText [2].", [("Text", (2,))]),
        ("~~~python\nx[1]", []),
        ("```markdown\nText [1].\n", [("Text", (1,))]),
        ("| cell one | cell two [1] | three [2] |", [("cell two", (1,)), ("three", (2,))]),
        ("[1] leads", [("", (1,))]),
        ("No citation [a] [^1] [] [1-3].", []),
    ],
)
def test_a_number_belongs_to_the_sentence_before_it(report: str, expected: list[tuple[str, tuple[int, ...]]]) -> None:
    assert read(report) == expected


def test_a_statement_knows_where_it_stands() -> None:
    report = "First one. - Then the second [1][2]. Third."
    (statement,) = statements(report)

    assert report[statement.start : statement.end] == "Then the second [1][2]"
