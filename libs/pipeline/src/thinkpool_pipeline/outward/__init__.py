"""The one layer every outward call goes through: deadlines, retries, limits, breaker, cache, counters."""

from thinkpool_pipeline.outward.body import Body
from thinkpool_pipeline.outward.call import OutwardCall, call_headers
from thinkpool_pipeline.outward.failures import (
    AddressForbidden,
    BodyTooLarge,
    BreakerOpen,
    DeadlinePassed,
    ErrorKind,
    KeysExhausted,
    OutwardError,
    RateLimited,
    Refused,
    Unavailable,
    Unreadable,
)
from thinkpool_pipeline.outward.json_text import parse_json
from thinkpool_pipeline.outward.providers import Outward, Reach, open_outward
from thinkpool_pipeline.outward.public_addresses import check_url, is_public
from thinkpool_pipeline.outward.rate import RateWindow, Sending
from thinkpool_pipeline.outward.shared_cache import Sized
from thinkpool_pipeline.outward.sharing import (
    CallLimit,
    CallLimits,
    KeptResult,
    ResultTurn,
    SharedResults,
    SharedUpstreams,
)
from thinkpool_pipeline.outward.timing import Timing
from thinkpool_pipeline.outward.upstream import (
    Parsed,
    ProviderName,
    Upstream,
    UpstreamSettings,
    UpstreamStatistics,
)
from thinkpool_pipeline.outward.web_client import WebReach

__all__ = [
    "AddressForbidden",
    "Body",
    "BodyTooLarge",
    "BreakerOpen",
    "CallLimit",
    "CallLimits",
    "DeadlinePassed",
    "ErrorKind",
    "KeptResult",
    "KeysExhausted",
    "Outward",
    "OutwardCall",
    "OutwardError",
    "Parsed",
    "ProviderName",
    "RateLimited",
    "RateWindow",
    "Reach",
    "Refused",
    "ResultTurn",
    "Sending",
    "SharedResults",
    "SharedUpstreams",
    "Sized",
    "Timing",
    "Unavailable",
    "Unreadable",
    "Upstream",
    "UpstreamSettings",
    "UpstreamStatistics",
    "WebReach",
    "call_headers",
    "check_url",
    "is_public",
    "open_outward",
    "parse_json",
]
