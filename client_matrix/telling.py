"""What a script tells of a client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Told:
    """What worked, in order, and what did not."""

    did: list[str] = field(default_factory=list[str])
    texts: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """What was done, and the text that it gave, which should be a run's report."""
    fault: str = ""
    """One line; empty when all worked."""
    details: str = ""
    """More of it."""

    def take(self, said: Mapping[str, Any]) -> None:
        """One thing that worked."""
        self.did.append(said["did"])
        if said["text"] is not None:
            self.texts.append((said["did"], said["text"]))
