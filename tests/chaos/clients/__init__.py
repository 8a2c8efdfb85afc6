"""Clients of the chaos test: each is a process that records what it did and saw until SIGTERM."""
