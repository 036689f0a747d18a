"""Throwaway certificates for tests, made by the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path

DAYS = ("-days", "2")
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_authority(folder: Path) -> None:
    """Write `ca.pem` and `ca-key.pem`."""
    folder.mkdir(parents=True, exist_ok=True)
    _openssl(
        folder,
        *("req", "-x509", *NEW_KEY, *DAYS, "-subj", "/CN=Ladle test authority", "-keyout", "ca-key.pem"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", "ca.pem"),
    )


def make_certificate(folder: Path, name: str, host: str) -> None:
    """Write `<name>.pem` and `<name>-key.pem` for `host`, signed by the folder's authority."""
    (folder / f"{name}.ext").write_text(
        f"subjectAltName=DNS:{host}\nextendedKeyUsage=serverAuth,clientAuth\nauthorityKeyIdentifier=keyid\n"
    )
    _openssl(folder, "req", *NEW_KEY, "-subj", f"/CN={host}", "-keyout", f"{name}-key.pem", "-out", f"{name}.csr")
    _openssl(
        folder,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", *DAYS),
        *("-extfile", f"{name}.ext", "-out", f"{name}.pem"),
    )


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)
