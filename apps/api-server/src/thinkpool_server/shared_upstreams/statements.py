"""What is said to the database. Times are the database's own, in whole: no replica's clock is asked."""

from typing import Final, LiteralString

TAKE: Final[LiteralString] = """
WITH wanted AS (
    SELECT * FROM unnest(%(names)s::text[], %(slots)s::integer[]) AS wanted (name, slots)
), picked AS (
    SELECT wanted.name, free.slot FROM wanted CROSS JOIN LATERAL (
        SELECT slot FROM thinkpool.call_slots AS one
        WHERE one.name = wanted.name AND one.slot <= wanted.slots AND one.free_at <= clock_timestamp()
        LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS free
), taken AS (
    UPDATE thinkpool.call_slots AS one
    SET lease = %(lease)s, free_at = clock_timestamp() + make_interval(secs => %(seconds)s)
    FROM picked
    WHERE one.name = picked.name AND one.slot = picked.slot
        AND (SELECT count(*) FROM picked) = (SELECT count(*) FROM wanted)
    RETURNING one.slot
), standing AS (
    SELECT wanted.slots, count(one.slot) AS laid_out, min(one.free_at) AS free_at
    FROM wanted LEFT JOIN thinkpool.call_slots AS one ON one.name = wanted.name AND one.slot <= wanted.slots
    GROUP BY wanted.name, wanted.slots
)
SELECT
    CASE WHEN EXISTS (SELECT FROM taken) THEN 0::float8
        ELSE (SELECT greatest(extract(epoch FROM max(free_at) - clock_timestamp())::float8, 0) FROM standing) END,
    EXISTS (SELECT FROM taken),
    NOT EXISTS (SELECT FROM taken) AND EXISTS (SELECT FROM standing WHERE laid_out < slots)
"""
"""Takes one slot of each name, or none at all: seconds until there may be one, whether it did, whether any is missing.

What another is just taking is passed by, and what it has taken is not free: PostgreSQL looks again at a row that it
locks. So no slot is ever taken twice, and nobody waits for a lock.
"""

LAY_OUT: Final[LiteralString] = """
INSERT INTO thinkpool.call_slots (name, slot)
SELECT wanted.name, slot
FROM unnest(%(names)s::text[], %(slots)s::integer[]) AS wanted (name, slots), generate_series(1, wanted.slots) AS slot
ON CONFLICT DO NOTHING
"""

MOVE: Final[LiteralString] = """
UPDATE thinkpool.call_slots AS one SET free_at = clock_timestamp() + make_interval(secs => moved.seconds)
FROM unnest(%(names)s::text[], %(leases)s::bigint[], %(seconds)s::float8[]) AS moved (name, lease, seconds)
WHERE one.name = moved.name AND one.lease = moved.lease
"""
"""Moves the moments at which leases end; one that ended and is another's now stays as it is."""

COOL: Final[LiteralString] = """
UPDATE thinkpool.call_slots AS one
SET free_at = greatest(one.free_at, clock_timestamp() + make_interval(secs => cooled.seconds))
FROM unnest(%(names)s::text[], %(seconds)s::float8[]) AS cooled (name, seconds)
WHERE one.name = cooled.name AND pg_postmaster_start_time() > clock_timestamp() - interval '10 seconds'
"""
"""After a restart of the database: nobody goes until what each replica sent by its share is over."""

FORGET_SLOTS: Final[LiteralString] = """
DELETE FROM thinkpool.call_slots WHERE (name, slot) IN (
    SELECT name, slot FROM thinkpool.call_slots WHERE free_at < statement_timestamp() - interval '1 day'
    LIMIT 500 FOR UPDATE SKIP LOCKED
)
"""
"""Reads all slots, which are few: an index by time would make the moving of each lease dearer."""

LOOK: Final[LiteralString] = """
WITH found AS (
    SELECT claim IS NOT NULL AS is_claimed, value,
        extract(epoch FROM expires_at - clock_timestamp())::float8 AS fresh_seconds
    FROM thinkpool.shared_results WHERE key = %(key)s AND expires_at > clock_timestamp()
), claimed AS (
    INSERT INTO thinkpool.shared_results AS one (key, claim, expires_at)
    SELECT %(key)s, %(claim)s, clock_timestamp() + make_interval(secs => %(seconds)s)
    WHERE NOT EXISTS (SELECT FROM found)
    ON CONFLICT (key) DO UPDATE SET claim = excluded.claim, value = NULL, expires_at = excluded.expires_at
    WHERE one.expires_at <= clock_timestamp()
    RETURNING 1
)
SELECT false, is_claimed, value, fresh_seconds FROM found
UNION ALL SELECT true, false, NULL, 0.0 FROM claimed
"""
"""Whether the result is ours to make, or another's who makes it, or what it is; no row where another came first."""

HOLD_CLAIMS: Final[LiteralString] = """
UPDATE thinkpool.shared_results SET expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE key = ANY(%(keys)s) AND claim = ANY(%(claims)s)
"""

KEEP: Final[LiteralString] = """
UPDATE thinkpool.shared_results
SET claim = NULL, value = %(value)s, expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE key = %(key)s AND claim = %(claim)s
"""

LET_GO: Final[LiteralString] = "DELETE FROM thinkpool.shared_results WHERE key = %(key)s AND claim = %(claim)s"

SWEEP: Final[LiteralString] = """
DELETE FROM thinkpool.shared_results WHERE key = ANY(ARRAY(
    SELECT key FROM thinkpool.shared_results WHERE expires_at <= statement_timestamp()
    ORDER BY expires_at LIMIT 500 FOR UPDATE SKIP LOCKED
))
"""
"""By the time at which the statement began, which an index can be asked for; by a clock that goes on it cannot."""

SHRINK: Final[LiteralString] = """
DELETE FROM thinkpool.shared_results WHERE key = ANY(ARRAY(
    SELECT key FROM thinkpool.shared_results WHERE value IS NOT NULL AND key = ANY(ARRAY(
        SELECT key FROM (
            SELECT key, sum(octet_length(value)) OVER (ORDER BY expires_at DESC, key) AS bytes
            FROM thinkpool.shared_results WHERE value IS NOT NULL
        ) AS newest WHERE bytes > %(max_bytes)s LIMIT 500
    )) FOR UPDATE SKIP LOCKED
))
"""
"""What is oldest. Sums up all there is: a result's size is read without the result."""
