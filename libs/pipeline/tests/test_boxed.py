import pytest
from thinkpool_pipeline.boxed import boxed_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So it is \boxed{42}.", "42"),
        (r"$$\boxed{x^{2} + \frac{1}{2}}$$", r"x^{2} + \frac{1}{2}"),
        (r"\boxed{first} and then \boxed{second}", "second"),
        (r"\boxed{\text{Paris}}", "Paris"),
        (r"\boxed{\text{New York}, \mathrm{NY} \textbf{10001}}", "New York, NY 10001"),
        (r"\boxed{\text{a {nested} one} and {b}}", "a {nested} one and {b}"),
        (r"\boxed{50\% of \$3 \& \#1, a\_b, \{x\}}", "50% of $3 & #1, a_b, {x}"),
        (r"\boxed{a \} b}", "a } b"),
        ("\\boxed {  two\n lines }", "two lines"),
        (r"\boxed{outer \boxed{inner}}", "inner"),
        (r"an { open brace, then \boxed{yes}", "yes"),
        (r"a } closing one, then \boxed{yes}", "yes"),
        (r"\boxed{whole} and \boxed{cut off", "whole"),
        (r"\boxed{whole} and \boxed{cut {off}", "whole"),
        (r"\\boxed{escaped once too often}", "escaped once too often"),
        (r"\boxed{\alpha \to \beta}", r"\alpha \to \beta"),
        (r"\boxed{ends with \text{cut off}", None),
        (r"\boxed{}", None),
        (r"\boxed{ \text{} }", None),
        (r"\boxed", None),
        ("boxed{no}", None),
        ("no box at all", None),
        ("", None),
    ],
)
def test_the_answer_is_what_stands_in_the_last_whole_box(text, answer):
    assert boxed_answer(text) == answer


def test_a_hostile_text_takes_time_in_proportion_to_its_length():
    assert boxed_answer("\\boxed{" * 200_000) is None
    assert boxed_answer("\\boxed{" * 200_000 + "deep" + "}" * 200_000) == "deep"
