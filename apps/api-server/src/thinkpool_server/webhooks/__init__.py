"""Tells the receivers that clients and operators named how runs ended."""

from thinkpool_server.webhooks.courier import Courier
from thinkpool_server.webhooks.dispatch import Dispatch
from thinkpool_server.webhooks.signature import signature

__all__ = ["Courier", "Dispatch", "signature"]
