"""Limits and results of outward calls that all replicas share, in the deployment's database."""

from thinkpool_server.shared_upstreams.opening import DeploymentUpstreams, open_shared_upstreams

__all__ = ["DeploymentUpstreams", "open_shared_upstreams"]
