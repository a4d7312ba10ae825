"""The tables of a scaled deployment, in the schema `thinkpool`.

`runs.last_seq` numbers a run's events and `runs.epoch` fences them: an append is one statement that checks the epoch,
takes the numbers and inserts. A former owner's finds no row, and nothing of its batch is written.

`replicas` has a row for each live process. `last_commit` is written by each of its transactions, so that after a lost
connection it can tell whether its last one was committed; a replica whose row is gone was declared dead, and none of
its writes goes through any more. `deployment` names the whole of it to other services.

`call_slots` has as many rows for each limit of outward calls as there may be calls: one that a call has taken is free
again once `free_at` has passed, which that call's replica moves. `shared_results` has what such calls came to, and who
is making one: `claim` while it is made, `value` afterwards, neither where everybody is to make it for himself.

`webhook_deliveries` has who is to be told of a run's end. A row is stored with the run, is due once the run has ended
and `next_at` has passed, and goes when it is delivered, given up, or its run is deleted; a claim moves `next_at` and
counts `attempts`.
"""

from typing import Final, LiteralString

EVENT_LOG: Final[LiteralString] = """
CREATE SEQUENCE thinkpool.arrivals;
CREATE TABLE thinkpool.runs (
    run_id text PRIMARY KEY,
    tenant text NOT NULL,
    status text NOT NULL,
    origin text NOT NULL,
    priority integer NOT NULL,
    arrival bigint NOT NULL,
    is_foreground boolean NOT NULL,
    fingerprint text NOT NULL,
    question bytea NOT NULL,
    metadata bytea NOT NULL,
    created_at double precision NOT NULL,
    started_at double precision,
    finished_at double precision,
    epoch integer NOT NULL DEFAULT 0,
    last_seq integer NOT NULL DEFAULT 0,
    cancelled_by text
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX runs_by_tenant ON thinkpool.runs (tenant, arrival DESC);
CREATE INDEX runs_unfinished ON thinkpool.runs (tenant, arrival) WHERE finished_at IS NULL;
CREATE INDEX runs_by_end ON thinkpool.runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE TABLE thinkpool.run_files (run_id text PRIMARY KEY, facts bytea NOT NULL, files bytea NOT NULL);
CREATE TABLE thinkpool.run_events (
    run_id text NOT NULL,
    seq integer NOT NULL,
    epoch integer NOT NULL,
    type text NOT NULL,
    data bytea NOT NULL,
    at double precision NOT NULL,
    PRIMARY KEY (run_id, seq)
);
CREATE TABLE thinkpool.run_steps (
    run_id text NOT NULL,
    name text NOT NULL,
    epoch integer NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (run_id, name)
);
CREATE TABLE thinkpool.expired_runs (run_id text PRIMARY KEY, tenant text NOT NULL, at double precision NOT NULL);
CREATE INDEX expired_runs_by_time ON thinkpool.expired_runs (at);
"""

REPLICAS: Final[LiteralString] = """
CREATE TABLE thinkpool.replicas (
    executor text PRIMARY KEY,
    host text NOT NULL,
    slots integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_commit bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE TABLE thinkpool.deployment (id text NOT NULL);
INSERT INTO thinkpool.deployment VALUES ('thinkpool-' || replace(gen_random_uuid()::text, '-', ''));
"""

UPSTREAMS: Final[LiteralString] = """
CREATE TABLE thinkpool.call_slots (
    name text NOT NULL,
    slot integer NOT NULL,
    lease bigint NOT NULL DEFAULT 0,
    free_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, slot)
) WITH (fillfactor = 50);
CREATE UNLOGGED TABLE thinkpool.shared_results (
    key bytea PRIMARY KEY,
    claim bigint,
    value bytea,
    expires_at timestamptz NOT NULL
);
CREATE INDEX shared_results_by_end ON thinkpool.shared_results (expires_at);
"""

RETRIES: Final[LiteralString] = """
CREATE INDEX runs_by_request ON thinkpool.runs (fingerprint);
"""

WEBHOOKS: Final[LiteralString] = """
CREATE TABLE thinkpool.webhook_deliveries (
    run_id text NOT NULL REFERENCES thinkpool.runs ON DELETE CASCADE,
    target text NOT NULL,
    url text,
    attempts integer NOT NULL DEFAULT 0,
    next_at double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, target)
) WITH (fillfactor = 70);
CREATE INDEX webhook_deliveries_by_time ON thinkpool.webhook_deliveries (next_at);
"""

ENDED: Final[LiteralString] = """
CREATE INDEX runs_ended ON thinkpool.runs (tenant, status, arrival) WHERE finished_at IS NOT NULL;
"""
