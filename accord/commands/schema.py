"""``accord schema``."""

from __future__ import annotations

from accord.commands.output import print_json
from gateway.config import Config

__all__ = ["command"]


def command() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    schema = Config.model_json_schema()
    print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
