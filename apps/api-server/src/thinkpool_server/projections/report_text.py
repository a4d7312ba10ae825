"""The report as a stream can tell it: piece by piece, and nothing of it taken back."""


class ReportText:
    """What was sent of a report, against what is written of it now.

    One that is begun again goes on as soon as it is past what was sent. One that then reads otherwise cannot go on.
    """

    def __init__(self) -> None:
        self._sent = ""
        self._written = ""
        self._turn = 0
        self.is_rewritten = False
        """Whether what was sent is not what is written, so that the stream must end."""

    @property
    def sent(self) -> str:
        """All that was given out to be sent."""
        return self._sent

    def add(self, turn: int, text: str) -> str:
        """What to send now that the turn wrote more; may be empty."""
        self._turn = turn
        self._written += text
        return self._news()

    def retract(self, turn: int) -> None:
        """Takes the turn's text for void."""
        if turn == self._turn:
            self._written = ""

    def finish(self, report: str) -> str:
        """What to send now that the report is this; white space at its end is no difference."""
        self._written = self._sent if self._sent.rstrip() == report.rstrip() else report
        news = self._news()
        self.is_rewritten = self._sent != self._written
        return news

    def _news(self) -> str:
        if self._written.startswith(self._sent):
            news = self._written[len(self._sent) :]
            self._sent = self._written
            return news
        self.is_rewritten = not self._sent.startswith(self._written)
        return ""
