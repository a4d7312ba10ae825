"""What matplotlib draws with inside a sandbox: shown figures become PNG files in the working directory.

Source: https://matplotlib.org/stable/users/explain/figure/writing_a_backend_pyplot_interface.html
"""

# matplotlib is partly typed
# pyright: reportUnknownMemberType=false

import os
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg


class FigureCanvas(FigureCanvasAgg):
    """Remembers that the program saved its figure itself, so that it does not come back twice."""

    is_saved = False

    def print_figure(self, *arguments: Any, **options: Any) -> Any:
        """Writes the figure."""
        self.is_saved = True
        return super().print_figure(*arguments, **options)


def show(*_: Any, **__: Any) -> None:
    """Saves the open figures that the program did not save, and closes all."""
    from matplotlib import pyplot

    for number in pyplot.get_fignums():
        figure = pyplot.figure(number)
        if not getattr(figure.canvas, "is_saved", False):
            figure.savefig(_free_name(), bbox_inches="tight")
    pyplot.close("all")


def _free_name() -> str:
    number = 1
    while os.path.exists(f"figure-{number}.png"):
        number += 1
    return f"figure-{number}.png"
