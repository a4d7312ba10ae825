"""What a deployment says about its sandboxes at E2B."""

from dataclasses import dataclass, field

HOME = "/home/user"
"""The working directory in E2B's sandboxes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class E2BSettings:
    """Where E2B is, what the account may do, and what one run may cost."""

    api_keys: tuple[str, ...] = field(repr=False)
    """At least one; they take turns in making sandboxes."""
    deployment: str = "thinkpool"
    """Marks this deployment's sandboxes, so that a sweep finds no others."""
    api_url: str | None = None
    """None for E2B's own."""
    sandbox_url: str | None = None
    """One address for all sandboxes; None for E2B's own, one each."""
    template: str | None = None
    """What sandboxes are made from; None for E2B's code interpreter."""
    has_internet: bool = False
    """Whether programs reach the internet: what they read there passes no check, nor does what they send."""
    max_sandboxes: int = 20
    """Alive at once, over all runs of this process. E2B's hobby plan allows 20."""
    creations_per_second: float = 1.0
    """E2B's hobby plan allows 1."""
    opening_seconds: float = 60.0
    """For getting a sandbox: waiting for room and rate, and all tries."""
    try_seconds: float = 20.0
    """For one try of anything short: making, finding or killing a sandbox, moving a file."""
    life_seconds: int = 900
    """How long a sandbox lives on after its last use, whatever becomes of this process."""
    max_replacements: int = 3
    """New sandboxes that a run gets for lost ones."""
    close_seconds: float = 10.0
    """How long closing waits for sandboxes to be killed; what is left then ends with its life."""
    max_output_characters: int = 64 * 1024
    """Of what a program prints, for each of stdout and stderr; more is cut in the middle."""
    max_received_bytes: int = 16 * 1024 * 1024
    """A program that sends more than this is ended."""
    max_files: int = 8
    """Files that one program brings back."""
    max_file_bytes: int = 1024 * 1024
    """Of a larger file only the name and the size come back."""
