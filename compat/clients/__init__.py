"""Clients in five languages, each behind a driver that speaks the same few lines of JSON."""
