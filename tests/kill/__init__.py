"""The kill test: a broker killed with ``kill -9`` again and again under load, and a checker of what clients saw."""
