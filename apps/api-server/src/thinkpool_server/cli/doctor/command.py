"""`thinkpool doctor`: loads the settings, has everything examined, prints what was found."""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Final

import orjson
from rich.console import Console

from thinkpool_server.cli.doctor.address import examine_address
from thinkpool_server.cli.doctor.database import examine_database
from thinkpool_server.cli.doctor.examination import CHECK_SECONDS, Check, DaemonThreads, Subject, examine
from thinkpool_server.cli.doctor.extensions import examine_own_tools
from thinkpool_server.cli.doctor.findings import Finding
from thinkpool_server.cli.doctor.machine import examine_files, examine_memory, examine_processors
from thinkpool_server.cli.doctor.mcp_servers import MCP_SECONDS, examine_mcp_servers, has_mcp_servers
from thinkpool_server.cli.doctor.model import PAID_SECONDS, examine_model, examine_page_model
from thinkpool_server.cli.doctor.rendering import Diagnosis, json_object, page, plain_lines
from thinkpool_server.cli.doctor.sandbox import examine_sandbox
from thinkpool_server.cli.doctor.settings_advice import advice
from thinkpool_server.cli.doctor.settings_sources import LoadedSettings, load
from thinkpool_server.cli.doctor.storage import examine_databases, examine_directory
from thinkpool_server.cli.doctor.web import examine_reader, examine_search
from thinkpool_server.cli.rendering import printable
from thinkpool_server.data_directory import Holder, holder_of
from thinkpool_server.settings import Settings

EXIT_HEALTHY: Final = 0
EXIT_PROBLEMS: Final = 1

_HOLDER_SECONDS = 2.0
_LEAST_SECRET_CHARACTERS = 6  # shorter ones are placeholders, and part of many a word
_HIDDEN = "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """What was asked for."""

    is_json: bool = False
    is_paid: bool = False
    """Whether models may be asked for a word."""


def run_doctor(options: DoctorOptions) -> int:
    """Examines this machine and prints what was found; 1 when something is a problem, else 0."""
    logging.getLogger().addHandler(logging.NullHandler())  # what is looked at says itself what is wrong
    began = time.monotonic()
    loaded = load()
    checks = chosen_checks(loaded.settings, is_paid=options.is_paid)
    console = Console(highlight=False)
    if options.is_json or not console.is_terminal:
        found = _examined(loaded, checks, options, lambda _: None)
    else:
        with console.status(_waiting(checks)) as status:
            left = list(checks)

            def note(done: Check) -> None:
                left.remove(done)
                status.update(_waiting(left))

            found = _examined(loaded, checks, options, note)
    diagnosis = Diagnosis(
        version=version("thinkpool-server"),
        findings=tuple(fit_to_show(finding, loaded.settings) for finding in found),
        seconds=time.monotonic() - began,
    )
    _print(diagnosis, console, options)
    return EXIT_HEALTHY if diagnosis.is_healthy else EXIT_PROBLEMS


def chosen_checks(settings: Settings, *, is_paid: bool) -> list[Check]:
    """What there is to look at with these settings, in the order in which it is shown."""
    examine_records = examine_databases if settings.database_url is None else examine_database
    model_seconds = CHECK_SECONDS + PAID_SECONDS if is_paid else CHECK_SECONDS
    model = frozenset({"BASE_URL", "API_KEY", "DEFAULT_MODEL_NAME", "EXTRA_MODELS"})
    search = frozenset({"WEB_ACCESS", "SERPER_API_KEY", "SERPER_BASE_URL", "SEARXNG_URL"})
    sandbox = frozenset({"SANDBOX", "E2B_API_KEY", "E2B_API_URL"})
    has_reader = settings.web_access and settings.has_jina and settings.page_reader != "direct"
    checks = [
        Check(name="data directory", examine=examine_directory, needs=frozenset({"DATA_DIR"})),
        Check(name="database", examine=examine_records, needs=frozenset({"DATABASE_URL", "DATA_DIR"})),
        Check(name="model", examine=examine_model, needs=model, seconds=model_seconds),
        Check(name="page model", examine=examine_page_model, seconds=model_seconds),
        Check(name="web search", examine=examine_search, needs=search),
        Check(name="page reader", examine=examine_reader),
        Check(name="MCP servers", examine=examine_mcp_servers, seconds=MCP_SECONDS),
        Check(name="own tools", examine=examine_own_tools),
        Check(name="sandbox", examine=examine_sandbox, needs=sandbox),
        Check(name="file limit", examine=examine_files),
        Check(name="memory", examine=examine_memory),
        Check(name="processors", examine=examine_processors),
        Check(name="address", examine=examine_address, needs=frozenset({"HOST", "PORT"})),
    ]
    absent = {
        "page model": settings.summary_llm_base_url is None,
        "page reader": not has_reader,
        "MCP servers": not has_mcp_servers(settings),
        "own tools": not settings.extra_tools,
    }
    return [check for check in checks if not absent.get(check.name)]


def _examined(
    loaded: LoadedSettings, checks: Sequence[Check], options: DoctorOptions, on_done: Callable[[Check], None]
) -> list[Finding]:
    async def run() -> list[Finding]:
        asyncio.get_running_loop().set_default_executor(DaemonThreads())
        subject = Subject(
            settings=loaded.settings,
            wrong=loaded.wrong,
            holder=await _holder(loaded.settings),
            is_paid=options.is_paid,
        )
        return await examine(subject, checks, on_done)

    return [*loaded.findings, *advice(loaded.settings), *asyncio.run(run())]


async def _holder(settings: Settings) -> Holder | None:
    try:
        async with asyncio.timeout(_HOLDER_SECONDS):
            return await asyncio.to_thread(holder_of, settings.data_dir)
    except TimeoutError:  # the check of the directory says that it hangs
        return None


def _waiting(left: Sequence[Check]) -> str:
    return f"looking at {', '.join(check.name for check in left)}" if left else "done"


def fit_to_show(finding: Finding, settings: Settings) -> Finding:
    """The finding in one line each, without secrets and control characters, whatever a check put into it."""
    secrets = [secret for secret in settings.secrets if len(secret) >= _LEAST_SECRET_CHARACTERS]

    def shown(text: str) -> str:
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        return " ".join(printable(text).split())

    return replace(finding, found=shown(finding.found), mend=shown(finding.mend))


def _print(diagnosis: Diagnosis, console: Console, options: DoctorOptions) -> None:
    if options.is_json:
        print(orjson.dumps(json_object(diagnosis)).decode())
    elif console.is_terminal:
        console.print(page(diagnosis))
    else:
        print("\n".join(plain_lines(diagnosis)))
    sys.stdout.flush()
