"""What a run has used of its budget: turns, tool calls, tokens, seconds.

The meter decides nothing but whether something is left. It gives the same figures when a run is resumed: the recorded
steps say how long the run had worked, and `new_warnings` gives each warning once, in the step that crossed its mark.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from thinkpool_pipeline.errors import BudgetExceeded
from thinkpool_pipeline.events import BudgetWarning
from thinkpool_pipeline.protocols import Clock
from thinkpool_pipeline.values import Budget, Usage

BudgetKind: TypeAlias = Literal["turns", "tool_calls", "tokens", "seconds"]

_MARKS = (0.5, 0.8, 1.0)
_MAX_RESERVE_SHARE = 0.15
_LENT_TIME_SHARE = 0.8
"""Of the time left for research: who lends goes on with the rest. Time runs for all at once, so it is not divided."""


class BudgetMeter:
    """Counts what a run uses, over all its attempts."""

    def __init__(self, budget: Budget, clock: Clock, *, report_reserve_seconds: float = 60.0) -> None:
        self._budget = budget
        self._clock = clock
        self._reserve_seconds = min(report_reserve_seconds, _MAX_RESERVE_SHARE * budget.max_seconds)
        self._worked_before_seconds = 0.0
        self._resumed_at = clock()
        self._turns = 0
        self._tool_calls = 0
        self._usage = Usage()
        self._marks_passed: dict[BudgetKind, int] = {}
        self._lent: list[Budget] = []

    def __repr__(self) -> str:
        used = ", ".join(f"{kind} {used:g}/{limit:g}" for kind, used, limit in self._figures())
        return f"<BudgetMeter [{used}]>"

    @property
    def usage(self) -> Usage:
        """Tokens used so far."""
        return self._usage

    @property
    def elapsed_seconds(self) -> float:
        """Seconds worked so far, over all attempts."""
        return self._worked_before_seconds + self._clock() - self._resumed_at

    @property
    def seconds_left(self) -> float:
        """Seconds until the run must be over; negative when it is past that."""
        return self._budget.max_seconds - self.elapsed_seconds

    @property
    def research_seconds_left(self) -> float:
        """Seconds until the report must be begun; negative when it is past that."""
        return self.seconds_left - self._reserve_seconds

    def resume_at(self, elapsed_seconds: float) -> None:
        """Goes on from a recorded step: the run had worked this long by then."""
        if elapsed_seconds > self._worked_before_seconds:
            self._worked_before_seconds = elapsed_seconds
            self._resumed_at = self._clock()

    def add_turn(self, usage: Usage) -> None:
        """Counts a research turn and its tokens."""
        self._turns += 1
        self._usage += usage

    def add_tokens(self, usage: Usage) -> None:
        """Counts tokens used outside research turns: by the report, or by a tool's own model."""
        self._usage += usage

    def forgive_turn(self) -> None:
        """Takes a turn back that came to nothing; its tokens stay counted."""
        self._turns -= 1

    def reserve_tool_call(self) -> bool:
        """Counts one more tool call, or says that there may be none."""
        if self._tool_calls >= self._budget.max_tool_calls:
            return False
        self._tool_calls += 1
        return True

    def add_tool_calls(self, calls: int) -> None:
        """Counts calls that were made within another one."""
        self._tool_calls += calls

    @property
    def tool_calls(self) -> int:
        """Calls counted so far."""
        return self._tool_calls

    @contextmanager
    def lend(self, share: float) -> Generator[Budget]:
        """A budget of this share of what is left, for research of its own; it is not lent twice meanwhile.

        What is used of it is to be counted here by the lender, with `add_tokens` and `add_tool_calls`.
        """
        lent = self._lendable(share)
        self._lent.append(lent)
        try:
            yield lent
        finally:
            self._lent.remove(lent)

    def _lendable(self, share: float) -> Budget:
        budget = self._budget
        tokens = budget.max_tokens - self._usage.total_tokens - sum(lent.max_tokens for lent in self._lent)
        calls = budget.max_tool_calls - self._tool_calls - sum(lent.max_tool_calls for lent in self._lent)
        return Budget(
            max_turns=max(1, int((budget.max_turns - self._turns) * share)),
            max_tool_calls=max(1, int(calls * share)),
            max_tokens=max(1, int(tokens * share)),
            max_seconds=max(1.0, self.research_seconds_left * _LENT_TIME_SHARE),
        )

    def check(self) -> None:
        """Whether research may go on.

        Raises:
            BudgetExceeded: something is used up.

        """
        if self.research_seconds_left <= 0:
            raise self.out_of_time()
        for kind, used, limit in self._figures():
            if used >= limit:
                raise BudgetExceeded(kind=kind, used=used, limit=limit)

    def out_of_time(self) -> BudgetExceeded:
        """The error that says so."""
        return BudgetExceeded(kind="seconds", used=self.elapsed_seconds, limit=self._budget.max_seconds)

    def new_warnings(self) -> tuple[BudgetWarning, ...]:
        """A warning for each kind that passed a mark since the last time; one that passed several gets one."""
        warnings: list[BudgetWarning] = []
        for kind, used, limit in self._figures():
            passed = sum(used >= mark * limit for mark in _MARKS)
            if passed > self._marks_passed.get(kind, 0):
                self._marks_passed[kind] = passed
                warnings.append(BudgetWarning(kind=kind, used=used, limit=limit))
        return tuple(warnings)

    def _figures(self) -> tuple[tuple[BudgetKind, float, float], ...]:
        return (
            ("turns", self._turns, self._budget.max_turns),
            ("tool_calls", self._tool_calls, self._budget.max_tool_calls),
            ("tokens", self._usage.total_tokens, self._budget.max_tokens),
            ("seconds", self.elapsed_seconds, self._budget.max_seconds),
        )
