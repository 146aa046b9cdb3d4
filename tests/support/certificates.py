"""Certificates of a test's own."""

import subprocess
from pathlib import Path


def tls_files(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """A certificate that nobody has signed, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    command = ["openssl", "req", "-x509", *kind, *names, "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def make_certificate(folder: Path, name: str = "cameras.example.org") -> dict[str, str]:
    """As options of ``http``: by default of a name that is not loopback's, as those of real sites are."""
    certificate, key = tls_files(folder, name)
    return {"tls_cert": str(certificate), "tls_key": str(key)}
