"""The one layer every outward call goes through: deadlines, retries, limits, breaker, cache, counters."""

from thinkpool_pipeline.outward.body import Body
from thinkpool_pipeline.outward.failures import (
    BodyTooLarge,
    BreakerOpen,
    DeadlinePassed,
    OutwardError,
    RateLimited,
    Refused,
    Unavailable,
    Unreadable,
)
from thinkpool_pipeline.outward.json_text import parse_json
from thinkpool_pipeline.outward.providers import Outward, open_outward
from thinkpool_pipeline.outward.timing import Timing
from thinkpool_pipeline.outward.upstream import (
    OutwardCall,
    Parsed,
    ProviderName,
    Upstream,
    UpstreamSettings,
    UpstreamStatistics,
    call_headers,
)

__all__ = [
    "Body",
    "BodyTooLarge",
    "BreakerOpen",
    "DeadlinePassed",
    "Outward",
    "OutwardCall",
    "OutwardError",
    "Parsed",
    "ProviderName",
    "RateLimited",
    "Refused",
    "Timing",
    "Unavailable",
    "Unreadable",
    "Upstream",
    "UpstreamSettings",
    "UpstreamStatistics",
    "call_headers",
    "open_outward",
    "parse_json",
]
