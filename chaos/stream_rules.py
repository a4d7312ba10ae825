"""What clients saw: every event once, in order, the same bytes on every connection, and nothing after the end."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from thinkpool_pipeline.events import END_TYPES

from chaos.finding import Finding, FindingName
from chaos.history import Connection, History, RunState

_REFUSALS = (400, 404, 410)


def stream_findings(history: History) -> Iterator[Finding]:
    """What connections broke, each by itself, against each other, and against the stored log."""
    states = {state.run_id: state for state in history.runs}
    for connection in history.connections:
        yield from _order(connection)
        yield from _terminal(connection)
        yield from _against_log(connection, states.get(connection.run_id))
    yield from _bytes(history.connections)


def _order(connection: Connection) -> Iterator[Finding]:
    seen: set[int] = set()
    expected = (connection.after or 0) + 1
    highest = expected - 1
    for delivery in connection.deliveries:
        seq = delivery.seq
        if seq in seen or seq < expected:
            yield _finding("duplicate-event", connection, f"event {seq} came again")
        elif seq < highest:
            yield _finding("reordered-event", connection, f"event {seq} came after event {highest}")
        seen.add(seq)
        highest = max(highest, seq)
    for missing in range(expected, highest):
        if missing not in seen:
            yield _finding(_name_of_gap(connection, missing, expected), connection, f"event {missing} never came")


def _name_of_gap(connection: Connection, missing: int, expected: int) -> FindingName:
    first = connection.deliveries[0].seq
    if missing >= first:
        return "lost-event"
    return "missing-first-event" if expected == 1 else "gap-across-reconnect"


def _terminal(connection: Connection) -> Iterator[Finding]:
    has_ended = False
    for delivery in connection.deliveries:
        is_end = delivery.type in END_TYPES
        if has_ended:
            name: FindingName = "two-terminals" if is_end else "event-after-terminal"
            yield _finding(name, connection, f"event {delivery.seq}, {delivery.type}, follows the end event")
        has_ended = has_ended or is_end


def _against_log(connection: Connection, state: RunState | None) -> Iterator[Finding]:
    if connection.status in _REFUSALS:
        yield _finding("resume-refused", connection, f"status {connection.status} behind event {connection.after}")
    if state is None or state.status == "unknown":
        return
    stored = {event.seq: event.type for event in state.events}
    for delivery in connection.deliveries:
        if stored.get(delivery.seq) != delivery.type:
            yield _finding("unstored-event", connection, f"event {delivery.seq}, {delivery.type}, is not in the log")
    last = max(stored, default=0)
    if connection.ending == "nothing-more" and connection.after != last:
        detail = f"told that nothing follows event {connection.after} of {last}"
        yield _finding("lost-event", connection, detail)
    if connection.is_read_back and [delivery.seq for delivery in connection.deliveries] != sorted(stored):
        detail = f"read back {len(connection.deliveries)} events of {len(stored)}"
        yield _finding("replica-differs", connection, detail)


def _bytes(connections: Sequence[Connection]) -> Iterator[Finding]:
    votes: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for connection in connections:
        for delivery in connection.deliveries:
            votes[connection.run_id, delivery.seq][delivery.digest] += 1
    for connection in connections:
        for delivery in connection.deliveries:
            (usual, count), *_ = votes[connection.run_id, delivery.seq].most_common(1)
            if delivery.digest != usual:
                name: FindingName = "replica-differs" if connection.is_read_back else "different-bytes"
                detail = f"event {delivery.seq} had other bytes than on {count} connections"
                yield _finding(name, connection, detail)


def _finding(name: FindingName, connection: Connection, detail: str) -> Finding:
    where = f"connection {connection.number} to {connection.via}"
    return Finding(name=name, subject=connection.run_id, detail=f"{where}: {detail}")
