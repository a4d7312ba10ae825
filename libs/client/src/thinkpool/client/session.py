"""What a client shares with its runs."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import httpx

from thinkpool.client.addressing import Address, address_of
from thinkpool.client.calls import Calls
from thinkpool.client.following import Following
from thinkpool.client.retrying import Chance, RetryPolicy

HttpT = TypeVar("HttpT", httpx.Client, httpx.AsyncClient)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(Generic[HttpT]):
    """A server, how it is reached, and what can be asked of it."""

    http: HttpT
    is_own_http: bool
    """Whether it is the client's to close."""
    address: Address
    policy: RetryPolicy
    chance: Chance = field(default_factory=Chance)

    @property
    def calls(self) -> Calls:
        """Procedures besides streams."""
        return Calls(self.policy, self.chance)

    def following(self, run_id: str, *, after: int = 0) -> Following:
        """A new reader of this run."""
        return Following(run_id, after=after, calls=self.calls, policy=self.policy, chance=self.chance)


def session_of(
    base_url: str,
    *,
    api_key: str | None,
    timeout: float,
    policy: RetryPolicy | None,
    given: HttpT | None,
    kind: type[HttpT],
) -> Session[HttpT]:
    """A session with the server at this URL, over the `given` httpx client or a new one of this `kind`.

    Raises:
        ValueError: the URL or the key cannot be used.

    """
    address = address_of(base_url, api_key, timeout)
    http = kind(limits=httpx.Limits(max_connections=None)) if given is None else given
    return Session(http=http, is_own_http=given is None, address=address, policy=policy or RetryPolicy())
