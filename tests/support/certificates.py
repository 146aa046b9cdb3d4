"""Certificates of a test's own."""

import subprocess
from pathlib import Path


def make_certificate(folder: Path, name: str = "cameras.example.org") -> dict[str, str]:
    """As options of ``http``: by default of a name that is not loopback's, as those of real sites are."""
    paths = {"tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    files = ["-out", paths["tls_cert"], "-keyout", paths["tls_key"]]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    command = ["openssl", "req", "-x509", *kind, *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    return paths
