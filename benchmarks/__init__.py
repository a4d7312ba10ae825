"""What `benchmark_concurrency.py` is made of."""
