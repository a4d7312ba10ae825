"""The API's description: what each route takes, every answer it can give, and what is in them."""

from thinkpool_server.api_description.document import describe, operation_id
from thinkpool_server.api_description.served_document import ServedDocument

__all__ = ["ServedDocument", "describe", "operation_id"]
