"""The report as a stream can tell it: piece by piece, and nothing of it taken back."""


class ReportText:
    """What was sent of a report, against what is written of it now.

    One that is begun again goes on as soon as it is past what was sent. One that then reads otherwise cannot go on.
    """

    def __init__(self) -> None:
        self._sent: list[str] = []
        self._again: str | None = None
        """What is written since the report was begun again, until that is past what was sent."""
        self._turn = 0
        self.is_rewritten = False
        """Whether what was sent is not what is written, so that the stream must end."""

    @property
    def sent(self) -> str:
        """All that was given out to be sent."""
        return "".join(self._sent)

    def add(self, turn: int, text: str) -> str:
        """What to send now that the turn wrote more; may be empty."""
        self._turn = turn
        if self._again is None:
            self._sent.append(text)
            return text
        return self._catch_up(self._again + text)

    def retract(self, turn: int) -> None:
        """Takes the turn's text for void."""
        if turn == self._turn:
            self._again = ""

    def finish(self, report: str) -> str:
        """What to send now that the report is this; white space at its end is no difference."""
        sent = self.sent
        written = sent if sent.rstrip() == report.rstrip() else report
        news = self._catch_up(written)
        self.is_rewritten = self.sent != written
        return news

    def _catch_up(self, written: str) -> str:
        sent = self.sent
        if written.startswith(sent):
            self._sent, self._again = [written], None
            return written[len(sent) :]
        self._again = written
        self.is_rewritten = not sent.startswith(written)
        return ""
