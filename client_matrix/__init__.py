"""The clients that people already have, each in an environment of its own, against a real server."""
