"""Events as OpenAI's responses. Source: https://platform.openai.com/docs/api-reference/responses"""

from thinkpool_server.projections.responses.ending import Ending
from thinkpool_server.projections.responses.head import ResponseHead, is_stored, response_head
from thinkpool_server.projections.responses.identity import part_id, response_id, run_id_of
from thinkpool_server.projections.responses.inputs import input_items
from thinkpool_server.projections.responses.projection import NOTHING, ResponseProjection

__all__ = [
    "NOTHING",
    "Ending",
    "ResponseHead",
    "ResponseProjection",
    "input_items",
    "is_stored",
    "part_id",
    "response_head",
    "response_id",
    "run_id_of",
]
