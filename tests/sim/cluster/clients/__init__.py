"""Clients of the simulated cluster: each follows the protocol as real clients do, and records what it did and saw."""
