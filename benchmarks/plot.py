# pyright: reportUnknownMemberType=false
# matplotlib's own stubs leave its keyword arguments untyped.
"""Draws a benchmark: the speed-up beside the ideal, and how much of the ideal was reached."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, ScalarFormatter

from benchmarks.figures import Row
from benchmarks.record import Record

_INK = "#1f2933"
_FAINT = "#9aa5b1"
_GRID = "#e4e7eb"
_MEASURED = "#0b7a75"
_IDEAL = "#d3dce6"
_FAILED = "#c0392b"
_BAR = 0.62
_ROOM_FOR_LABEL = 0.35


def draw(record: Record, path: Path) -> None:
    """Writes the picture; the format follows from the file's suffix."""
    rows = record.rows
    figure = Figure(figsize=(11, 5.2), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.12), facecolor="white")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1.15, 1)})
    _draw_speed_up(left, [row for row in rows if row.scenario.arrivals == "at once"])
    _draw_efficiency(right, rows)
    where = record.surroundings
    figure.suptitle(
        "Research runs at once: N runs over a pool of P pipelines",
        x=0.01,
        ha="left",
        fontsize=15,
        fontweight="bold",
        color=_INK,
    )
    figure.supxlabel(
        f"One run takes {record.ideal_run_seconds:.2f} s at best (profile {record.profile}). {where.processor}, "
        f"{where.cores} cores, load {where.load_before} before and {record.load_after} after; "
        f"commit {where.commit}; {where.measured_at}.",
        x=0.01,
        ha="left",
        fontsize=8.5,
        color=_FAINT,
    )
    figure.savefig(path, dpi=150)


def _draw_speed_up(axes: Axes, rows: Sequence[Row]) -> None:
    """Bars of the measured speed-up inside bars of the ideal, on a logarithmic scale."""
    places = range(len(rows))
    ideal = [row.scenario.ideal_speed_up for row in rows]
    measured = [row.speed_up for row in rows]
    axes.bar(places, ideal, width=_BAR, color=_IDEAL, label="ideal")
    axes.bar(places, measured, width=_BAR * 0.6, color=[_color(row) for row in rows], label="measured")
    for place, value, limit in zip(places, measured, ideal, strict=True):
        axes.annotate(
            f"{value:.3g}x",
            (place, max(value, limit)),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=10,
            fontweight="bold",
            color=_INK,
        )
    axes.set_yscale("log")
    top = 1.6 * max([1.0, *ideal, *measured])
    axes.set_ylim(0.8, top)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in (1, 3, 10, 30, 100, 300, 1000) if tick <= top]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_xticks(list(places), [_label(row) for row in rows])
    axes.set_title("Speed-up over one run after the other (log scale)", loc="left", fontsize=11, color=_INK)
    axes.legend(loc="upper left", fontsize=9, framealpha=1, edgecolor="none")
    axes.grid(axis="y", color=_GRID)
    _dress(axes)


def _draw_efficiency(axes: Axes, rows: Sequence[Row]) -> None:
    """One horizontal bar a scenario: the ideal time by the wall time."""
    places = range(len(rows))
    axes.barh(places, [row.efficiency for row in rows], height=_BAR, color=[_color(row) for row in rows])
    for place, row in zip(places, rows, strict=True):
        failed = f", {row.failed + row.refused} failed" if row.failed + row.refused else ""
        is_inside = row.efficiency > _ROOM_FOR_LABEL
        axes.annotate(
            f"{100 * row.efficiency:.1f} %{failed}",
            (row.efficiency, place),
            xytext=(-6 if is_inside else 6, 0),
            textcoords="offset points",
            ha="right" if is_inside else "left",
            va="center",
            fontsize=9.5,
            fontweight="bold",
            color="white" if is_inside else _INK,
        )
    axes.axvline(1.0, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 1.05)
    axes.set_yticks(list(places), [row.scenario.name for row in rows])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title("Efficiency: ideal time by wall time", loc="left", fontsize=11, color=_INK)
    axes.grid(axis="x", color=_GRID)
    _dress(axes)


def _dress(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_INK, labelsize=9.5)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom")
        axes.spines[side].set_color(_FAINT)


def _label(row: Row) -> str:
    return f"{row.scenario.requests}\nover {row.scenario.pool}"


def _color(row: Row) -> str:
    return _FAILED if row.failed + row.refused else _MEASURED
