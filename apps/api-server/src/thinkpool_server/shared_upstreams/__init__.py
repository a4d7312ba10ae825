"""Limits and results of outward calls that all replicas share, in the deployment's database."""
