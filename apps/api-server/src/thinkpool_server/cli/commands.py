"""What may be typed after `thinkpool`.

Exit codes: 0 done, 1 failed, 2 wrong arguments or settings, 130 interrupted, 141 nobody reads what is printed.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import version

import uvloop
from thinkpool_pipeline.errors import ConfigurationError, PipelineError

from thinkpool_server.cli.asked_run import AskedRun
from thinkpool_server.cli.output import chosen_output
from thinkpool_server.cli.remote_run import open_remote_run
from thinkpool_server.cli.watching import EXIT_FAILED, EXIT_INTERRUPTED, watch
from thinkpool_server.data_directory import holder_of
from thinkpool_server.logs import configure_logging
from thinkpool_server.settings import load_settings

EXIT_CONFIGURATION = 2
EXIT_UNREAD = 128 + signal.SIGPIPE
"""As of a program that the signal ends."""

UPSTREAM_MODULE = "thinkpool_pipeline.testing.upstream"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command of these arguments, by default the process's own; the process's exit code."""
    parser = _parser()
    wanted, more = parser.parse_known_args(arguments)
    if more and not wanted.takes_more:
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    try:
        return wanted.run(wanted, more)
    except ConfigurationError as error:
        print(f"thinkpool: {error.message}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except PipelineError as error:
        print(f"thinkpool: {error.message}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (BrokenPipeError, ExceptionGroup) as error:
        if isinstance(error, ExceptionGroup) and error.split(BrokenPipeError)[1] is not None:
            raise
        _let_go_of_output()
        return EXIT_UNREAD


def _let_go_of_output() -> None:
    """Has the interpreter write what is left nowhere, in the place of complaining at its end.

    Source: https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _question(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it should not be empty")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thinkpool",
        description="Deep research for many people at once. Settings come from the environment and .env.",
    )
    parser.add_argument("--version", action="version", version=f"thinkpool {version('thinkpool-server')}")
    parser.set_defaults(takes_more=False)
    commands = parser.add_subparsers(required=True, metavar="command")

    serving = commands.add_parser("serve", help="start the server")
    serving.set_defaults(run=_serve)

    asking = commands.add_parser("ask", help="ask one question here and read the report")
    asking.add_argument("question", type=_question, help="what is to be found out")
    asking.add_argument("--url", help="a running server's address; without it this process does the work itself")
    asking.add_argument("--api-key", metavar="KEY", help="the key that server asks for")
    asking.add_argument("--json", action="store_true", help="print each event as a line of JSON")
    asking.set_defaults(run=_ask)

    tools = commands.add_parser("mcp", help="offer research and documents to an MCP client over standard streams")
    tools.add_argument("--url", help="a running server's address; without it this process does the work itself")
    tools.add_argument("--api-key", metavar="KEY", help="the key that server asks for")
    tools.set_defaults(run=_offer_tools)

    examining = commands.add_parser("doctor", help="say what is wrong with this installation and how to mend it")
    examining.add_argument("--json", action="store_true", help="print one JSON object")
    examining.add_argument("--paid", action="store_true", help="ask the model for one word, which it is paid for")
    examining.set_defaults(run=_examine)

    upstream = commands.add_parser(
        "upstream",
        help="start the simulated upstream, for tests and benchmarks; takes options of its own",
        add_help=False,
    )
    upstream.set_defaults(run=_upstream, takes_more=True)
    return parser


def _serve(_: argparse.Namespace, __: Sequence[str]) -> int:
    settings = load_settings()
    configure_logging(settings)
    print(f"ThinkPool {version('thinkpool-server')} starts", flush=True)
    from thinkpool_server.cli.own_runtime import serve_runtime  # its imports cost seconds on a busy machine

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_runtime(settings))
    return 0


def _ask(wanted: argparse.Namespace, _: Sequence[str]) -> int:
    run = _asked(wanted)
    return asyncio.run(_watched(run, is_json=wanted.json))


def _offer_tools(wanted: argparse.Namespace, _: Sequence[str]) -> int:
    elsewhere = _server_elsewhere(wanted)
    if elsewhere is not None:
        from thinkpool_server.cli.mcp_stdio import serve_tools_at  # as above

        asyncio.run(serve_tools_at(elsewhere.url, api_key=elsewhere.key, version=version("thinkpool-server")))
        return 0
    from thinkpool_server.cli.own_runtime import offer_own_tools  # as above

    settings = load_settings()
    configure_logging(settings.model_copy(update={"log_level": "error"}))
    asyncio.run(offer_own_tools(settings))
    return 0


def _examine(wanted: argparse.Namespace, _: Sequence[str]) -> int:
    from thinkpool_server.cli.doctor import DoctorOptions, run_doctor  # as above

    return run_doctor(DoctorOptions(is_json=wanted.json, is_paid=wanted.paid))


def _upstream(_: argparse.Namespace, options: Sequence[str]) -> int:
    """Becomes the simulated upstream: signals and exit code are its own."""
    os.execv(sys.executable, [sys.executable, "-m", UPSTREAM_MODULE, *options])  # noqa: S606 -- no shell is wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Elsewhere:
    """A server that is to do the work."""

    url: str
    key: str | None


def _server_elsewhere(wanted: argparse.Namespace) -> _Elsewhere | None:
    """The server of that address, or else the one that holds the data directory; None when there is none."""
    if wanted.url:
        return _Elsewhere(url=wanted.url, key=wanted.api_key)
    settings = load_settings()
    holder = holder_of(settings.data_dir)
    if holder is None or holder.url is None:
        return None
    print(f"thinkpool: the data directory is in use by the server at {holder.url}; asking there.", file=sys.stderr)
    known = (key.key.get_secret_value() for key in settings.server_api_keys)
    return _Elsewhere(url=holder.url, key=wanted.api_key or next(known, None))


def _asked(wanted: argparse.Namespace) -> AbstractAsyncContextManager[AskedRun]:
    elsewhere = _server_elsewhere(wanted)
    if elsewhere is not None:
        return open_remote_run(elsewhere.url, wanted.question, api_key=elsewhere.key)
    from thinkpool_server.cli.own_runtime import open_own_run  # as above

    settings = load_settings()
    configure_logging(settings.model_copy(update={"log_level": "error"}))
    return open_own_run(settings, wanted.question)


async def _watched(opening: AbstractAsyncContextManager[AskedRun], *, is_json: bool) -> int:
    async with opening as run:
        loop, interrupted = asyncio.get_running_loop(), asyncio.Event()

        def interrupt() -> None:
            loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C does not wait for the run's end
            interrupted.set()

        loop.add_signal_handler(signal.SIGINT, interrupt)
        return await watch(run, chosen_output(is_json=is_json), interrupted)
