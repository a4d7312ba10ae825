"""A response's stream as SSE messages, numbered.

`sequence_number` counts the messages from 0. Which messages an event makes follows from the log up to it alone, however
it is read, so a number means the same in every replay, and to go on behind one is to replay without sending up to it.

Source: https://platform.openai.com/docs/guides/streaming-responses
"""

import orjson
from thinkpool_pipeline.values import JsonObject


class Frames:
    """Counts the messages of one stream, and makes those that are to be sent."""

    def __init__(self, after: int) -> None:
        """What has a number up to `after` is not made; -1 makes all."""
        self._after = after
        self._is_over = False
        self.last = -1
        """The number of the newest message, made or not."""

    def of(self, kind: str, fields: JsonObject) -> bytes:
        """The next message, or nothing where it is not to be sent."""
        if not self._next():
            return b""
        body = orjson.dumps({"type": kind, **fields, "sequence_number": self.last})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)

    def delta(self, start: bytes, text: str) -> bytes:
        """The next message, where it says what `delta_start` made and the text."""
        if not self._next():
            return b""
        return b'%b%b,"sequence_number":%d}\n\n' % (start, orjson.dumps(text), self.last)

    def error(self, code: str, message: str, *, is_logged: bool) -> bytes:
        """What ends a stream that cannot go on: nothing follows it.

        One that is not of the log takes no number of its own: whoever goes on behind the number that it repeats misses
        nothing. `error` is what makes OpenAI's clients raise.
        """
        if is_logged and not self._next():
            self._is_over = True
            return b""
        self._is_over = True
        fields = {"code": code, "message": message, "param": None}
        body = {"type": "error", **fields, "sequence_number": max(self.last, 0)}
        return b"event: error\ndata: %b\n\n" % orjson.dumps({**body, "error": {"type": "server_error", **fields}})

    @property
    def is_over(self) -> bool:
        """Whether nothing may follow."""
        return self._is_over

    def _next(self) -> bool:
        if self._is_over:
            return False
        self.last += 1
        return self.last > self._after


def delta_start(kind: str, fields: JsonObject) -> bytes:
    """What every delta of one part begins with."""
    body = orjson.dumps({"type": kind, **fields})
    return b'event: %b\ndata: %b,"delta":' % (kind.encode(), body[:-1])
