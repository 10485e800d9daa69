"""The configuration: what may be said (`schema`) and how a file is read (`load`)."""

from gateway.config.load import Complaint, ConfigError, Document, load
from gateway.config.schema import Config

__all__ = ["Complaint", "Config", "ConfigError", "Document", "load"]
