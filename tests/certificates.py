"""Certificates for tests, made with openssl: authorities, and what they signed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Authority", "Signed"]


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority of its own.

    Args:
        folder: Where its files go.
        name: What it is called.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self.cert, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl("req", "-x509", *_NEW_KEY, self._key, "-out", self.cert, "-subj", f"/CN={name}")

    def sign(self, name: str) -> Signed:
        """Return a certificate for a host name."""
        cert, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        signed_by = ("-CA", self.cert, "-CAkey", self._key)
        alternative = ("-addext", f"subjectAltName=DNS:{name}")
        _openssl(
            "req", "-x509", *signed_by, *_NEW_KEY, key, "-out", cert, "-subj", f"/CN={name}", *alternative
        )
        return Signed(cert, key)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-keyout")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
