"""The record of every run: its events for readers, and the journal of its finished steps."""

from thinkpool_server.event_log.event_log import EventLog, PendingCreation
from thinkpool_server.event_log.journal import Claim, RunJournal
from thinkpool_server.event_log.postgres_store import PostgresStore
from thinkpool_server.event_log.reader import FollowingReader
from thinkpool_server.event_log.sqlite_store import SqliteStore

__all__ = ["Claim", "EventLog", "FollowingReader", "PendingCreation", "PostgresStore", "RunJournal", "SqliteStore"]
