"""Drivers of the Go clients: one module, a command for each library."""
