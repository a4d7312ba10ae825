"""The API's description: what each route takes, every answer it can give, and what is in them."""

from thinkpool_server.api_description.document import describe, operation_id

__all__ = ["describe", "operation_id"]
