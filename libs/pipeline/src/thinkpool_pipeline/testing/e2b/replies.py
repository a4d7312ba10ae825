"""Bodies and frames as E2B's services write them.

Source: github.com/e2b-dev/infra (API, envd, proxy) and github.com/e2b-dev/code-interpreter (`/execute`).
"""

import base64
import struct

import orjson
from aiohttp import web

from thinkpool_pipeline.testing.e2b.fleet import LiveSandbox
from thinkpool_pipeline.values import JsonObject

ENVD_VERSION = "0.6.7"
TEMPLATE = "code-interpreter-v1"
_LAST_FRAME = 2
"""The flag of the frame that ends a stream of the Connect protocol. Source: connectrpc.com/docs/protocol"""


def json_reply(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def error_reply(status: int, message: str, *, headers: dict[str, str] | None = None) -> web.Response:
    """An error as the API and envd write it."""
    return json_reply({"code": status, "message": message}, status=status, headers=headers)


def no_sandbox_reply(sandbox_id: str) -> web.Response:
    """What the proxy in front of the sandboxes says of one that is gone."""
    body = {"sandboxId": sandbox_id, "message": "The sandbox was not found", "code": 502}
    return json_reply(body, status=502)


def rpc_error_reply(status: int, code: str, message: str) -> web.Response:
    """An error of a Connect call that has one answer."""
    return json_reply({"code": code, "message": message}, status=status)


def created(sandbox: LiveSandbox) -> JsonObject:
    """A sandbox as its creation, or a connection to it, tells of it."""
    return {
        "templateID": TEMPLATE,
        "sandboxID": sandbox.record.sandbox_id,
        "clientID": "simulated",
        "envdVersion": ENVD_VERSION,
        "envdAccessToken": sandbox.access_token,
        "domain": None,
    }


def listed(sandbox: LiveSandbox) -> JsonObject:
    """A sandbox as a list tells of it."""
    return {
        "templateID": TEMPLATE,
        "sandboxID": sandbox.record.sandbox_id,
        "clientID": "simulated",
        "startedAt": sandbox.started_at.isoformat(),
        "endAt": sandbox.ends_at.isoformat(),
        "cpuCount": 2,
        "memoryMB": 512,
        "diskSizeMB": 1024,
        "state": "running",
        "envdVersion": ENVD_VERSION,
        "metadata": dict(sandbox.record.metadata),
    }


def frame(event: JsonObject) -> bytes:
    """One message of a process's stream."""
    return _framed(0, {"event": event})


def data_frame(name: str, data: bytes) -> bytes:
    """What a process printed."""
    return frame({"data": {name: base64.b64encode(data).decode()}})


def end_frame(exit_code: int) -> bytes:
    """How a process ended."""
    end: JsonObject = {"exited": exit_code >= 0, "status": _status(exit_code)}
    if exit_code:
        end |= {"exitCode": exit_code if exit_code > 0 else -1, "error": _status(exit_code)}
    return frame({"end": end})


def last_frame(error: JsonObject | None = None) -> bytes:
    """The end of a stream, with an error or without."""
    return _framed(_LAST_FRAME, {} if error is None else {"error": error})


def _status(exit_code: int) -> str:
    return f"exit status {exit_code}" if exit_code >= 0 else "signal: killed"


def _framed(flags: int, body: JsonObject) -> bytes:
    data = orjson.dumps(body)
    return struct.pack(">BI", flags, len(data)) + data
