"""The command `thinkpool`: starts the server, asks in a terminal, examines an installation, and more."""

from thinkpool_server.cli.commands import main

__all__ = ["main"]
