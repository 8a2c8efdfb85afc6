"""Commands for people at a prompt: ``kbroker topics``, ``produce``, ``consume``, ``tail`` and ``groups``.

Clients of any Kafka, built on ``kbroker.tools``. What they print is for eyes: aligned, coloured on a terminal, with
progress on what takes long. ``--json`` makes it for programs. docs/COMMANDS.md shows all of them.
"""
