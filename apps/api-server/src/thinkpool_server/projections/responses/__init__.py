"""Events as OpenAI's responses. Source: https://platform.openai.com/docs/api-reference/responses"""

from thinkpool_server.projections.responses.head import ResponseHead, is_stored, response_head
from thinkpool_server.projections.responses.identity import response_id, run_id_of
from thinkpool_server.projections.responses.inputs import input_items
from thinkpool_server.projections.responses.projection import NOTHING, ResponseProjection

__all__ = [
    "NOTHING",
    "ResponseHead",
    "ResponseProjection",
    "input_items",
    "is_stored",
    "response_head",
    "response_id",
    "run_id_of",
]
