"""Who gets the free slots: tenants share them max-min fairly, replicas evenly. Pure, so that tables can test it."""

import heapq
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from thinkpool_server.engine.protocol import EngineLimits
from thinkpool_server.runs import Tenant

ServedAt: TypeAlias = tuple[int, int]
"""When a tenant's last run started: milliseconds since the epoch, then the order among those of one moment."""

_JUST_NOW = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLoad:
    """What one tenant has in the queue, at one moment."""

    tenant: Tenant
    executing: int = 0
    """In the whole deployment."""
    queued: int = 0
    served_at: ServedAt = (0, 0)
    waiting_since: int = 0
    """When the oldest queued run was submitted, in milliseconds since the epoch."""


def startable(load: TenantLoad, limits: EngineLimits) -> int:
    """How many of the tenant's queued runs its own limit lets start."""
    return max(0, min(load.queued, limits.per_tenant - load.executing))


def share_out(loads: Iterable[TenantLoad], slots: int, limits: EngineLimits) -> dict[Tenant, int]:
    """How many runs of each tenant start, those first that are served first; tenants that get none are left out.

    Each slot goes to the tenant that then executes fewest; among equals to the one served longest ago, then to the one
    that has waited longest.
    """
    shares: dict[Tenant, int] = {}
    claims = [
        (load.executing, load.served_at, load.waiting_since, load.tenant, startable(load, limits)) for load in loads
    ]
    heap = [claim for claim in claims if claim[-1] > 0]
    heapq.heapify(heap)
    for turn in range(slots):
        if not heap:
            break
        executing, _, waiting_since, tenant, left = heap[0]
        shares[tenant] = shares.get(tenant, 0) + 1
        if left > 1:
            heapq.heapreplace(heap, (executing + 1, (_JUST_NOW, turn), waiting_since, tenant, left - 1))
        else:
            heapq.heappop(heap)
    return shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many more runs a replica may execute."""

    fair: int
    """Before others with room for more have had their chance."""
    possible: int
    """At most; never less than what is fair."""


def room_for(loads: Collection[TenantLoad], limits: EngineLimits, *, executing_here: int, replicas: int) -> Room:
    """What a replica may claim, when it executes so many runs and is one of so many replicas."""
    executing = sum(load.executing for load in loads)
    ready = sum(startable(load, limits) for load in loads)
    possible = max(0, min(limits.in_deployment - executing, limits.in_replica - executing_here, ready))
    share = math.ceil(min(limits.in_deployment, executing + ready) / max(1, replicas))
    return Room(fair=max(0, min(possible, share - executing_here)), possible=possible)
