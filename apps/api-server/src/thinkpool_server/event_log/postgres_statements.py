"""What the event log says to PostgreSQL. `postgres.tables` has the tables."""

from typing import Final, LiteralString

NOTIFY: Final[LiteralString] = "SELECT pg_notify(%s, %s)"

MARK_COMMIT: Final[LiteralString] = """
UPDATE thinkpool.replicas SET last_commit = %s, seen_at = clock_timestamp() WHERE executor = %s AND last_commit < %s
"""

CROWD: Final[LiteralString] = """
SELECT tenant, count(*) FILTER (WHERE status <> 'queued'), count(*) FILTER (WHERE status = 'queued')
FROM thinkpool.runs WHERE finished_at IS NULL GROUP BY tenant
"""

_COLUMNS: Final[LiteralString] = (
    "run_id, tenant, status, origin, priority, arrival, is_foreground, fingerprint, question, metadata,"
    " created_at, started_at, finished_at, epoch, last_seq, cancelled_by"
)

INSERT_RUN: Final[LiteralString] = (
    "INSERT INTO thinkpool.runs (" + _COLUMNS + ") SELECT run_id, tenant, status, origin, priority,"
    " nextval('thinkpool.arrivals'), is_foreground, fingerprint, question, metadata, created_at, started_at,"
    " finished_at, epoch, last_seq, cancelled_by FROM (VALUES (%s, %s, %s, %s, %s::integer, %s, %s, %s, %s::bytea,"
    " %s::bytea, %s::double precision, %s::double precision, %s::double precision, %s::integer, %s::integer, %s::text))"
    " AS run (" + _COLUMNS + ") ON CONFLICT (run_id) DO NOTHING RETURNING arrival"
)

INSERT_FILES: Final[LiteralString] = "INSERT INTO thinkpool.run_files (run_id, facts, files) VALUES (%s, %s, %s)"

CLAIM_RUN: Final[LiteralString] = (
    "UPDATE thinkpool.runs SET epoch = epoch + 1, status = 'running', started_at = coalesce(started_at, %s)"
    " WHERE run_id = %s AND finished_at IS NULL RETURNING " + _COLUMNS
)

APPEND: Final[LiteralString] = """
WITH taken AS (
    UPDATE thinkpool.runs SET
        last_seq = runs.last_seq + batch.events,
        status = coalesce(batch.end_status, runs.status),
        finished_at = CASE WHEN batch.end_status IS NULL THEN NULL ELSE %(now)s::double precision END
    FROM unnest(%(run_ids)s::text[], %(epochs)s::integer[], %(counts)s::integer[], %(end_statuses)s::text[])
        AS batch (run_id, epoch, events, end_status)
    WHERE runs.run_id = batch.run_id AND runs.epoch = batch.epoch AND runs.finished_at IS NULL
    RETURNING runs.run_id, runs.epoch, runs.last_seq - batch.events AS after
), events AS (
    INSERT INTO thinkpool.run_events (run_id, seq, epoch, type, data, at)
    SELECT taken.run_id, taken.after + event.place, taken.epoch, event.type, event.data, %(now)s
    FROM unnest(%(event_runs)s::text[], %(places)s::integer[], %(types)s::text[], %(data)b::bytea[])
        AS event (run_id, place, type, data) JOIN taken USING (run_id)
), steps AS (
    INSERT INTO thinkpool.run_steps (run_id, name, epoch, value)
    SELECT taken.run_id, step.name, taken.epoch, step.value
    FROM unnest(%(step_runs)s::text[], %(names)s::text[], %(values)b::bytea[]) AS step (run_id, name, value)
    JOIN taken USING (run_id)
)
SELECT run_id, after FROM taken
"""
"""Of several runs at once, each named once: what a commit costs is then hardly more than what one run's would."""

REQUEST_CANCEL: Final[LiteralString] = (
    "UPDATE thinkpool.runs SET cancelled_by = coalesce(cancelled_by, %s) WHERE run_id = %s AND finished_at IS NULL"
)

DELETE_RUN: Final[tuple[LiteralString, ...]] = (
    "DELETE FROM thinkpool.run_events WHERE run_id = %s",
    "DELETE FROM thinkpool.run_steps WHERE run_id = %s",
    "DELETE FROM thinkpool.run_files WHERE run_id = %s",
    "DELETE FROM thinkpool.runs WHERE run_id = %s",
)
"""One run each time: of many at once the planner, without statistics, expects so much that it reads whole tables."""

INSERT_WEBHOOK: Final[LiteralString] = (
    "INSERT INTO thinkpool.webhook_deliveries (run_id, target, url) VALUES (%s, %s, %s)"
)

CLAIM_DELIVERIES: Final[LiteralString] = """
WITH due AS (
    SELECT delivery.run_id, delivery.target, runs.tenant
    FROM thinkpool.webhook_deliveries AS delivery JOIN thinkpool.runs USING (run_id)
    WHERE delivery.next_at <= %s AND runs.finished_at IS NOT NULL AND runs.tenant <> ALL(%s::text[])
    ORDER BY delivery.next_at LIMIT %s FOR UPDATE OF delivery SKIP LOCKED
)
UPDATE thinkpool.webhook_deliveries AS delivery SET attempts = attempts + 1, next_at = %s
FROM due WHERE delivery.run_id = due.run_id AND delivery.target = due.target
RETURNING delivery.run_id, due.tenant, delivery.target, delivery.url, delivery.attempts
"""

POSTPONE_DELIVERY: Final[LiteralString] = (
    "UPDATE thinkpool.webhook_deliveries SET next_at = %s WHERE run_id = %s AND target = %s AND attempts = %s"
)

END_DELIVERY: Final[LiteralString] = (
    "DELETE FROM thinkpool.webhook_deliveries WHERE run_id = %s AND target = %s AND attempts = %s"
)

NEXT_DELIVERY_AT: Final[LiteralString] = (
    "SELECT next_at FROM thinkpool.webhook_deliveries JOIN thinkpool.runs USING (run_id)"
    " WHERE finished_at IS NOT NULL ORDER BY next_at LIMIT 1"
)

BEGUN: Final[LiteralString] = """
SELECT run_id FROM thinkpool.runs
WHERE fingerprint = %s AND (finished_at IS NULL OR finished_at > %s)
    AND (cancelled_by IS DISTINCT FROM 'disconnect' OR status IN ('completed', 'failed'))
ORDER BY arrival DESC LIMIT 1
"""

PAST: Final[LiteralString] = "SELECT run_id FROM thinkpool.runs WHERE finished_at < %s ORDER BY finished_at LIMIT %s"

EXPIRED: Final[LiteralString] = (
    "SELECT run_id, tenant FROM thinkpool.runs WHERE run_id = ANY(%s) AND finished_at IS NOT NULL"
    " FOR UPDATE SKIP LOCKED"
)

REMEMBER_EXPIRED: Final[LiteralString] = (
    "INSERT INTO thinkpool.expired_runs (run_id, tenant, at) SELECT run.id, run.tenant, %s"
    " FROM unnest(%s::text[], %s::text[]) AS run (id, tenant) ON CONFLICT DO NOTHING"
)

RUNS: Final[LiteralString] = (
    "SELECT (SELECT facts FROM thinkpool.run_files WHERE run_files.run_id = runs.run_id), "
    + _COLUMNS
    + " FROM thinkpool.runs"
)

_OF_TENANT: Final[LiteralString] = " WHERE tenant = %(tenant)s AND arrival < %(before)s::bigint"
_NEWEST_FIRST: Final[LiteralString] = " ORDER BY arrival DESC LIMIT %(most)s"

LIST_RUNS: Final[LiteralString] = RUNS + _OF_TENANT + _NEWEST_FIRST

LIST_ENDED: Final[LiteralString] = (
    RUNS + _OF_TENANT + " AND status = %(status)s AND finished_at IS NOT NULL" + _NEWEST_FIRST
)
"""For the statuses of runs that have ended. They have an index, as those of `LIST_UNFINISHED` do."""

LIST_UNFINISHED: Final[LiteralString] = (
    RUNS + _OF_TENANT + " AND status = %(status)s AND finished_at IS NULL" + _NEWEST_FIRST
)
"""For the statuses of runs that have not ended. They have an index, which only who says so gets."""

UNFINISHED: Final[LiteralString] = (
    "SELECT run_id, tenant, status, priority, arrival, created_at, is_foreground, cancelled_by"
    " FROM thinkpool.runs WHERE finished_at IS NULL ORDER BY arrival"
)

LAST_ARRIVAL: Final[LiteralString] = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM thinkpool.arrivals"

READ: Final[LiteralString] = (
    "SELECT seq, type, data, at FROM thinkpool.run_events WHERE run_id = %s AND seq > %s ORDER BY seq LIMIT %s"
)

READ_BEHIND: Final[LiteralString] = """
SELECT place.run_id, event.seq, event.type, event.data, event.at
FROM unnest(%s::text[], %s::integer[]) AS place (run_id, after)
CROSS JOIN LATERAL (
    SELECT seq, type, data, at FROM thinkpool.run_events
    WHERE run_events.run_id = place.run_id AND seq > place.after ORDER BY seq OFFSET 0
) AS event
ORDER BY place.run_id, event.seq
"""
"""A plain join reads every event there is: the planner cannot know how few are behind each place."""
