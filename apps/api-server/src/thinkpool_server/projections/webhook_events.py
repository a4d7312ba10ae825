"""A run's end as the event that OpenAI's webhooks tell of a response, whatever dialect the run was asked for in.

Source: https://platform.openai.com/docs/api-reference/webhook-events
"""

import orjson

from thinkpool_server.projections.responses import Ending, part_id, response_id
from thinkpool_server.runs import RunRecord


def event_id(record: RunRecord) -> str:
    """The event's name, the same however often it is told.

    A run that was deleted, and made anew by the same Idempotency-Key, has the same id again, and another event.
    """
    return part_id("evt", record.run_id, int(record.created_at * 1000))


def event_body(record: RunRecord, ending: Ending) -> bytes:
    """The event of an ended run, as JSON; `data.thinkpool` is what OpenAI's has no place for."""
    return orjson.dumps(
        {
            "id": event_id(record),
            "object": "event",
            "created_at": int(record.finished_at or 0),
            "type": f"response.{ending.status}",
            "data": {"id": response_id(record.run_id), "thinkpool": {"run_id": record.run_id}},
        }
    )
