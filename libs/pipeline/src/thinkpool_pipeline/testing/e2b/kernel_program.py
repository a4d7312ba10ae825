"""What runs inside a simulated sandbox: executes cells, one JSON object a line, and keeps their names.

Run as a program of its own, never imported. It answers in the lines that E2B's `/execute` streams, and ends each cell
with `{"type": "idle"}`. Like a notebook's kernel it shows the value of a cell's last expression and open figures, and
what child processes print goes nowhere.
"""

import ast
import base64
import io
import json
import linecache
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any, cast

_BUFFERED_CHARACTERS = 8192
_RICH = {"png": "_repr_png_", "jpeg": "_repr_jpeg_", "svg": "_repr_svg_", "html": "_repr_html_"}
_RED, _PLAIN = "\x1b[0;31m", "\x1b[0m"

Send = Callable[[Mapping[str, object]], None]


class _Printed(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a cell."""

    def __init__(self, name: str, send: Send) -> None:
        self._name = name
        self._send = send
        self._buffer = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._buffer += text
        if "\n" in text or len(self._buffer) >= _BUFFERED_CHARACTERS:
            self.flush()
        return len(text)

    def flush(self) -> None:
        if self._buffer:
            text, self._buffer = self._buffer, ""
            self._send({"type": self._name, "text": text, "timestamp": time.time_ns()})


class Kernel:
    """Cells and the names they leave."""

    def __init__(self, answers: IO[str]) -> None:
        self._answers = answers
        self._count = 0
        self._names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__, "display": self._display}

    def execute(self, code: str) -> None:
        """Runs one cell and sends what comes of it."""
        self._count += 1
        self._send({"type": "number_of_executions", "execution_count": self._count})
        printed = sys.stdout, sys.stderr = _Printed("stdout", self._send), _Printed("stderr", self._send)
        error: BaseException | None = None
        try:
            self._run(code)
        except BaseException as raised:  # noqa: BLE001 -- whatever a cell raises is its result
            error = raised
        for stream in printed:
            stream.flush()
        self._show_figures()
        if error is not None:
            self._send(_error(error))
        self._send({"type": "idle"})

    def _run(self, code: str) -> None:
        name = f"<cell {self._count}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            exec(compile(tree, name, "exec"), self._names)  # noqa: S102 -- a kernel executes
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), name, "eval"), self._names)  # noqa: S307 -- likewise
                if value is not None:
                    self._show(value, is_main=True)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _display(self, *values: object) -> None:
        for value in values:
            self._show(value, is_main=False)

    def _show(self, value: object, *, is_main: bool) -> None:
        shown: dict[str, object] = {"type": "result", "text": repr(value), "is_main_result": is_main}
        for name, method in _RICH.items():
            if hasattr(type(value), method):
                data = getattr(value, method)()
                shown[name] = base64.b64encode(data).decode() if isinstance(data, bytes) else data
        self._send(shown)

    def _show_figures(self) -> None:
        if "matplotlib.pyplot" not in sys.modules:
            return
        pyplot = cast(Any, sys.modules["matplotlib.pyplot"])
        for number in pyplot.get_fignums():
            figure, image = pyplot.figure(number), io.BytesIO()
            figure.savefig(image, format="png")
            pyplot.close(figure)
            png = base64.b64encode(image.getvalue()).decode()
            self._send({"type": "result", "text": repr(figure), "png": png, "is_main_result": False})

    def _send(self, line: Mapping[str, object]) -> None:
        self._answers.write(json.dumps(line) + "\n")
        self._answers.flush()


def _error(error: BaseException) -> dict[str, object]:
    """As IPython tells it: in colours, without the kernel's own frames."""
    frames = error.__traceback__
    while frames is not None and not frames.tb_frame.f_code.co_filename.startswith("<cell"):
        frames = frames.tb_next
    lines = traceback.format_exception(error.with_traceback(frames))
    name = type(error).__name__
    lines[-1] = lines[-1].rstrip("\n").replace(name, f"{_RED}{name}{_PLAIN}", 1)
    return {"type": "error", "name": name, "value": str(error), "traceback": "".join(lines)}


def main() -> None:
    """Serves cells until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cells, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    kernel = Kernel(answers)
    for cell in cells:
        kernel.execute(json.loads(cell)["code"])


if __name__ == "__main__":
    main()
