"""Measures ThinkPool's concurrency: `python benchmark_concurrency.py [--check] [--url http://...]`.

By itself it starts a simulated upstream and a server, each in a process of its own, and compares the wall time of N
questions at once with the ideal: what the upstreams alone take. With `--url` it measures a running deployment.
"""

import sys

from benchmarks.command import main

if __name__ == "__main__":
    sys.exit(main())
