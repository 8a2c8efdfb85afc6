"""Partitions as replicas: leader state, the high watermark, and everyone who waits for it to move."""
