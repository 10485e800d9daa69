"""Profilers that others wrote, put on a running gateway: py-spy for its time, memray for its memory.

Both live in an environment of their own, as the peers do (``requirements/peers/profilers.in``).
``inside/sitecustomize.py`` runs in the gateway's process, ``large.py`` in the profilers' environment.
"""
