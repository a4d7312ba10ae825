"""How an examination is shown: in a terminal, as plain text, as JSON."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from thinkpool_server.cli.doctor.findings import Finding, Level

_STYLES: Final[dict[Level, str]] = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_LEVEL_WIDTH = len("problem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """An examination that is over."""

    version: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is a problem."""
        return not self.count("problem")

    def count(self, level: Level) -> int:
        """How many findings are of this level."""
        return Counter(finding.level for finding in self.findings)[level]


def page(diagnosis: Diagnosis) -> RenderableType:
    """For a terminal."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, min_width=_LEVEL_WIDTH)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    before = ""
    for finding in diagnosis.findings:
        said = Text(finding.found)
        if finding.mend:
            said.append(f"\n→ {finding.mend}", style="cyan")
        check = "" if finding.check == before else finding.check
        before = finding.check
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), Text(check, style="bold"), said)
    worst: Level = "problem" if not diagnosis.is_healthy else "warning" if diagnosis.count("warning") else "ok"
    return Group(table, Padding(Text(summary(diagnosis), style=_STYLES[worst]), (1, 0, 0, 0)))


def plain_lines(diagnosis: Diagnosis) -> list[str]:
    """For pipes and files: what to do stands in a line of its own, below what was found."""
    width = max((len(finding.check) for finding in diagnosis.findings), default=0)
    lines: list[str] = []
    for finding in diagnosis.findings:
        lines.append(f"{finding.level:<{_LEVEL_WIDTH}}  {finding.check:<{width}}  {finding.found}")
        if finding.mend:
            lines.append(f"{'':<{_LEVEL_WIDTH + width + 4}}-> {finding.mend}")
    return [*lines, summary(diagnosis)]


def json_object(diagnosis: Diagnosis) -> dict[str, Any]:
    """For programs."""
    return {
        "version": diagnosis.version,
        "healthy": diagnosis.is_healthy,
        "problems": diagnosis.count("problem"),
        "warnings": diagnosis.count("warning"),
        "seconds": round(diagnosis.seconds, 3),
        "findings": [asdict(finding) for finding in diagnosis.findings],
    }


def summary(diagnosis: Diagnosis) -> str:
    """The whole in one line."""
    bad = [_counted(diagnosis.count(level), level) for level in ("problem", "warning") if diagnosis.count(level)]
    fine = diagnosis.count("ok")
    verdict = f"{' and '.join(bad)}; {fine} fine" if bad else f"all {fine} are fine"
    return f"ThinkPool {diagnosis.version}: {verdict}, in {diagnosis.seconds:.1f} s"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
