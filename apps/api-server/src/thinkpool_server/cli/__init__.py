"""The command `thinkpool`: starts the server, asks in a terminal, examines the machine, starts the simulated upstream."""

from thinkpool_server.cli.commands import main

__all__ = ["main"]
