"""What clients send to make a response, and what it means. Source: OpenAI's API reference, `POST /v1/responses`."""

from thinkpool_server.response_requests.included import included
from thinkpool_server.response_requests.meaning import Earlier, response_submission
from thinkpool_server.response_requests.schemas import ResponseRequest
from thinkpool_server.response_requests.tools import AvailableTools

__all__ = ["AvailableTools", "Earlier", "ResponseRequest", "included", "response_submission"]
