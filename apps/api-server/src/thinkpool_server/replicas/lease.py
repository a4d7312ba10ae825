"""The proof that this replica's runs are still its own, without which it begins nothing."""

from typing import Protocol


class Lease(Protocol):
    """What a replica works under."""

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have taken this replica's runs."""
        ...

    async def confirmed(self) -> None:
        """Returns at once while it is held, else when it is again.

        Raises:
            ReplicaLost: it is gone for good.

        """
        ...


class UnlimitedLease:
    """Implements `Lease` for a process that is alone: nobody is there to take its runs."""

    @property
    def is_held(self) -> bool:
        """Always."""
        return True

    async def confirmed(self) -> None:
        """Returns at once."""


UNLIMITED = UnlimitedLease()
