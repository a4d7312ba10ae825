"""The event log's tables in SQLite, and the statements that read and write them.

`runs.last_seq` numbers a run's events and `runs.epoch` fences them: an append is one UPDATE that checks the epoch and
takes the numbers, then the INSERTs. A former owner's UPDATE finds no row, and nothing of its batch is written.

`run_files` has the files that came with a question, apart from the rest, which is read far more often; `facts` says
what is told of them.

`webhook_deliveries` has who is to be told of a run's end. A row is stored with the run, is due once the run has ended
and `next_at` has passed, and goes when it is delivered or given up; a claim moves `next_at` and counts `attempts`.
"""

from thinkpool_server.event_log.rows import COLUMNS, UNFINISHED_COLUMNS

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    status TEXT NOT NULL,
    origin TEXT NOT NULL,
    priority INTEGER NOT NULL,
    arrival INTEGER NOT NULL,
    is_foreground INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    question BLOB NOT NULL,
    metadata BLOB NOT NULL,
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    epoch INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0,
    cancelled_by TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS runs_by_tenant ON runs (tenant, arrival DESC);
CREATE INDEX IF NOT EXISTS runs_unfinished ON runs (status, arrival) WHERE status IN ('queued', 'running');
CREATE INDEX IF NOT EXISTS runs_ended ON runs (tenant, status, arrival) WHERE finished_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS runs_by_request ON runs (fingerprint);
CREATE INDEX IF NOT EXISTS runs_by_end ON runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS run_files (
    run_id TEXT PRIMARY KEY,
    facts BLOB NOT NULL,
    files BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS run_events (
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    type TEXT NOT NULL,
    data BLOB NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run_steps (
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (run_id, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS webhook_deliveries (
    run_id TEXT NOT NULL,
    target TEXT NOT NULL,
    url TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, target)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS webhook_deliveries_by_time ON webhook_deliveries (next_at);
CREATE TABLE IF NOT EXISTS expired_runs (
    run_id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    at REAL NOT NULL
) WITHOUT ROWID;
"""

RUN_COLUMNS = ", ".join(COLUMNS)

INSERT_RUN = f"INSERT INTO runs ({RUN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 -- constants only

CLAIM_RUN = f"""
UPDATE runs SET epoch = epoch + 1, status = 'running', started_at = coalesce(started_at, ?)
WHERE run_id = ? AND status IN ('queued', 'running') RETURNING {RUN_COLUMNS}
"""  # noqa: S608 -- constants only

TAKE_NUMBERS = """
UPDATE runs SET last_seq = last_seq + ? WHERE run_id = ? AND epoch = ? AND finished_at IS NULL RETURNING last_seq
"""

END_RUN = "UPDATE runs SET status = ?, finished_at = ? WHERE run_id = ?"

REQUEST_CANCEL = "UPDATE runs SET cancelled_by = coalesce(cancelled_by, ?) WHERE run_id = ? AND finished_at IS NULL"

INSERT_EVENT = "INSERT INTO run_events (run_id, seq, epoch, type, data, at) VALUES (?, ?, ?, ?, ?, ?)"

INSERT_STEP = "INSERT INTO run_steps (run_id, name, epoch, value) VALUES (?, ?, ?, ?)"

INSERT_FILES = "INSERT INTO run_files (run_id, facts, files) VALUES (?, ?, ?)"

BEGUN = """
SELECT run_id FROM runs
WHERE fingerprint = ? AND (finished_at IS NULL OR finished_at > ?)
    AND (cancelled_by IS NOT 'disconnect' OR status IN ('completed', 'failed'))
ORDER BY arrival DESC LIMIT 1
"""

INSERT_WEBHOOK = "INSERT INTO webhook_deliveries (run_id, target, url) VALUES (?, ?, ?)"

DUE_DELIVERIES = """
SELECT delivery.run_id, tenant, target, url, attempts + 1
FROM webhook_deliveries AS delivery JOIN runs USING (run_id)
WHERE next_at <= ? AND finished_at IS NOT NULL AND tenant NOT IN (SELECT value FROM json_each(?))
ORDER BY next_at LIMIT ?
"""

CLAIM_DELIVERY = "UPDATE webhook_deliveries SET attempts = ?, next_at = ? WHERE run_id = ? AND target = ?"

POSTPONE_DELIVERY = "UPDATE webhook_deliveries SET next_at = ? WHERE run_id = ? AND target = ? AND attempts = ?"

END_DELIVERY = "DELETE FROM webhook_deliveries WHERE run_id = ? AND target = ? AND attempts = ?"

NEXT_DELIVERY_AT = """
SELECT next_at FROM webhook_deliveries JOIN runs USING (run_id) WHERE finished_at IS NOT NULL ORDER BY next_at LIMIT 1
"""

LIST_RUNS = f"SELECT {RUN_COLUMNS} FROM runs WHERE tenant = ? AND arrival < ? ORDER BY arrival DESC LIMIT ?"  # noqa: S608 -- constants only

LIST_ENDED = f"""
SELECT {RUN_COLUMNS} FROM runs INDEXED BY runs_ended
WHERE tenant = ? AND arrival < ? AND status = ? AND finished_at IS NOT NULL ORDER BY arrival DESC LIMIT ?
"""  # noqa: S608 -- constants only

LIST_UNFINISHED = f"""
SELECT {RUN_COLUMNS} FROM runs INDEXED BY runs_unfinished
WHERE tenant = ? AND arrival < ? AND status = ? AND status IN ('queued', 'running') ORDER BY arrival DESC LIMIT ?
"""  # noqa: S608 -- constants only
"""For the statuses of runs that have not ended. Only who says all of their index's condition gets it."""

UNFINISHED = f"""
SELECT {", ".join(UNFINISHED_COLUMNS)} FROM runs INDEXED BY runs_unfinished
WHERE status IN ('queued', 'running') ORDER BY arrival
"""  # noqa: S608 -- constants only

LAST_ARRIVAL = """
WITH RECURSIVE tenants (name) AS (
    SELECT min(tenant) FROM runs
    UNION ALL SELECT (SELECT min(tenant) FROM runs WHERE tenant > name) FROM tenants WHERE name IS NOT NULL
)
SELECT coalesce(max((SELECT max(arrival) FROM runs WHERE tenant = name)), 0) FROM tenants
"""
"""From one tenant to the next by their index, and the newest of each: no more is read, however many runs there are."""

PAST = "SELECT run_id FROM runs WHERE finished_at < ? ORDER BY finished_at LIMIT ?"

EXPIRED = "SELECT run_id, tenant FROM runs WHERE run_id IN (SELECT value FROM json_each(?)) AND finished_at IS NOT NULL"
