"""What a session on a lent GPU needs beside the benchmarks: `benchmarks/gpu.py` is the session."""
