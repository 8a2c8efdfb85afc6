"""The ``kbroker`` command."""
