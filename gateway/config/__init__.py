"""The configuration: what may be said (`schema`) and how a file is read (`load`)."""

from gateway.config.load import load
from gateway.config.schema import Config
from protos.document import Complaint, ConfigError, Document

__all__ = ["Complaint", "Config", "ConfigError", "Document", "load"]
