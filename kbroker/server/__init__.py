"""Listeners and connections: bytes from clients to handlers and back, in order, within bounds."""
