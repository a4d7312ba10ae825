"""Settings that are each allowed, and together are dangerous or of no use."""

import ipaddress
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from thinkpool_server.cli.doctor.findings import Finding, warning
from thinkpool_server.settings import Settings

CHECK: Final = "settings"

_LONG_SILENCE_SECONDS = 30.0  # common proxies and load balancers cut what is silent for one or two times that
_USUAL_RUN_SECONDS = 60.0
_SHORT_RETENTION_HOURS = 1.0


def advice(settings: Settings) -> list[Finding]:
    """What an operator may not have meant."""
    return [*_access(settings), *_privacy(settings), *_times(settings), *_sizes(settings)]


def _access(settings: Settings) -> Iterator[Finding]:
    if not settings.is_loopback_only and not settings.server_api_keys:
        yield warning(
            CHECK,
            "whoever reaches this server may use it: HOST is not of this machine alone, and there are no keys",
            mend="set SERVER_API_KEYS, or let nobody but a proxy of yours reach HOST",
        )
    if "*" in settings.cors_origins:
        yield warning(
            CHECK,
            "CORS_ORIGINS lets the pages of every site ask this server",
            mend="name the origins that should",
        )


def _privacy(settings: Settings) -> Iterator[Finding]:
    endpoints = (
        ("BASE_URL", settings.base_url, settings.api_key),
        ("SUMMARY_LLM_BASE_URL", settings.summary_llm_base_url, settings.summary_llm_api_key),
        ("SERPER_BASE_URL", settings.serper_base_url, settings.serper_api_key),
        ("JINA_BASE_URL", settings.jina_base_url, settings.jina_api_key),
        ("E2B_API_URL", settings.e2b_api_url, settings.e2b_api_key),
    )
    for name, url, keys in endpoints:
        if url and keys and url.startswith("http://") and not _is_near(url):
            yield warning(CHECK, f"{name} is http: its key travels in the clear", mend="use https")
    if settings.allow_model_urls:
        yield warning(
            CHECK,
            "ALLOW_MODEL_URLS lets a model put what it knows into the addresses that it reads",
            mend="unset it, unless nothing that runs see is private",
        )
    if settings.log_content:
        yield warning(CHECK, "LOG_CONTENT writes questions and reports into logs", mend="unset it after the search")


def _times(settings: Settings) -> Iterator[Finding]:
    if settings.code_timeout_seconds > settings.tool_timeout_seconds:
        yield warning(
            CHECK,
            "TOOL_TIMEOUT_SECONDS ends programs before CODE_TIMEOUT_SECONDS does",
            mend="set TOOL_TIMEOUT_SECONDS to at least CODE_TIMEOUT_SECONDS",
        )
    for name in ("model_total_seconds", "tool_timeout_seconds"):
        if getattr(settings, name) > settings.max_run_seconds:
            yield warning(
                CHECK,
                f"{name.upper()} is longer than MAX_RUN_SECONDS: one call may use up a whole run",
                mend=f"set {name.upper()} to a part of MAX_RUN_SECONDS",
            )
    if settings.heartbeat_seconds >= _LONG_SILENCE_SECONDS:
        yield warning(
            CHECK,
            f"HEARTBEAT_SECONDS leaves streams silent for {settings.heartbeat_seconds:g} s, and many proxies cut those",
            mend="set it to 15 or less",
        )
    if settings.run_retention_hours < _SHORT_RETENTION_HOURS:
        yield warning(
            CHECK,
            "RUN_RETENTION_HOURS deletes reports within the hour: who comes back later finds nothing",
            mend="set it to 24 or more",
        )


def _sizes(settings: Settings) -> Iterator[Finding]:
    slots = min(settings.pipeline_pool_size, settings.max_concurrent_requests)
    if settings.pipeline_pool_size > settings.max_concurrent_requests:
        yield warning(
            CHECK,
            f"{settings.pipeline_pool_size - slots} pipelines of PIPELINE_POOL_SIZE are never used:"
            " MAX_CONCURRENT_REQUESTS is less",
            mend="raise MAX_CONCURRENT_REQUESTS, or lower PIPELINE_POOL_SIZE",
        )
    if (settings.max_runs_per_tenant or 0) > settings.max_concurrent_requests:
        yield warning(
            CHECK,
            "MAX_RUNS_PER_TENANT is more than MAX_CONCURRENT_REQUESTS, and so holds nobody back",
            mend="set it below MAX_CONCURRENT_REQUESTS, or unset it",
        )
    if settings.max_queued_requests * _USUAL_RUN_SECONDS > settings.queue_timeout_seconds * slots:
        yield warning(
            CHECK,
            f"the last of MAX_QUEUED_REQUESTS waits longer than QUEUE_TIMEOUT_SECONDS where runs take a minute and one"
            f" server executes {slots}",
            mend="lower MAX_QUEUED_REQUESTS: to be refused at once is better than to wait in vain",
        )


def _is_near(url: str) -> bool:
    """Whether the URL leads to this machine or a private network, as far as its text says."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".internal", ".local", ".svc"))
    return address.is_private or address.is_loopback
