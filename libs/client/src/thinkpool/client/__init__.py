"""The client of a ThinkPool server, async and sync: runs are started, followed, read and stopped.

Its streams live through broken connections, restarted servers and proxies: every event comes once and in order.
"""

from thinkpool.client import events
from thinkpool.client.async_client import AsyncRun, AsyncThinkPool
from thinkpool.client.errors import (
    Conflict,
    ConnectionFailed,
    Expired,
    FieldError,
    InvalidRequest,
    NotFound,
    RateLimited,
    Refused,
    RunCancelled,
    RunEnded,
    RunFailed,
    ServerFailed,
    ThinkPoolError,
    Unauthorized,
    UnexpectedAnswer,
)
from thinkpool.client.retrying import RetryPolicy
from thinkpool.client.sync_client import Run, ThinkPool
from thinkpool.client.values import (
    Budget,
    Citation,
    Failure,
    FileInfo,
    Health,
    InputFile,
    Message,
    ResearchOptions,
    Result,
    RunInfo,
    ToolFile,
    Usage,
)

__all__ = [
    "AsyncRun",
    "AsyncThinkPool",
    "Budget",
    "Citation",
    "Conflict",
    "ConnectionFailed",
    "Expired",
    "Failure",
    "FieldError",
    "FileInfo",
    "Health",
    "InputFile",
    "InvalidRequest",
    "Message",
    "NotFound",
    "RateLimited",
    "Refused",
    "ResearchOptions",
    "Result",
    "RetryPolicy",
    "Run",
    "RunCancelled",
    "RunEnded",
    "RunFailed",
    "RunInfo",
    "ServerFailed",
    "ThinkPool",
    "ThinkPoolError",
    "ToolFile",
    "Unauthorized",
    "UnexpectedAnswer",
    "Usage",
    "events",
]
