"""The benchmark: kbroker and its references in one run (``python -m tests.bench``)."""
