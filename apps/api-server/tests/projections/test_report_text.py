from thinkpool_server.projections.report_text import ReportText


def test_a_report_begun_again_goes_on_where_it_is_past_what_was_sent() -> None:
    report = ReportText()
    assert report.add(2, "The sky is") == "The sky is"
    report.retract(1)
    report.retract(2)
    assert [report.add(2, text) for text in ("The", " sky", " is blue")] == ["", "", " blue"]
    assert (report.finish("The sky is blue.\n"), report.is_rewritten) == (".\n", False)


def test_a_report_that_reads_otherwise_is_known_as_soon_as_it_does() -> None:
    report = ReportText()
    report.add(2, "The sky")
    report.retract(2)
    report.add(2, "The")
    assert not report.is_rewritten
    assert report.add(2, " sea") == ""
    assert report.is_rewritten


def test_white_space_at_the_end_is_no_difference_but_a_missing_end_is() -> None:
    same, shorter = ReportText(), ReportText()
    same.add(2, "abc\n")
    shorter.add(2, "abc")
    assert (same.finish("abc"), same.is_rewritten) == ("", False)
    assert (shorter.finish("ab"), shorter.is_rewritten) == ("", True)
