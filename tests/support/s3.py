"""A store of S3's kind: moto's server on a real port, which can be down and come back."""

import urllib.request
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from sightline.config.upload_options import UploadOptions

KEY, SECRET = "AKIAEXAMPLEKEY", "a-very/secret+key"
BUCKET = "bucket"


class S3Server:
    """Its port stays the same, also while it is down, and so does what it holds; it begins empty."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, self.port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{self.port}"
        reset = urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset, timeout=10).close()  # what it holds is this process's
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        self.client = boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **keys)
        self.client.create_bucket(Bucket=BUCKET)
        versioning = {"Status": "Enabled"}
        self.client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=versioning)

    def stop(self) -> None:
        self._server.stop()

    def restart(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def objects(self) -> dict[str, bytes]:
        """What there is, by name."""
        return {name: self.client.get_object(Bucket=BUCKET, Key=name)["Body"].read() for name in self.puts()}

    def puts(self) -> dict[str, int]:
        """By the name of each object, how often it was put."""
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
        names = [version["Key"] for page in pages for version in page.get("Versions", [])]
        return {name: names.count(name) for name in names}

    def values(self, **more: Any) -> dict[str, Any]:
        """``uploads`` of a configuration."""
        values = {"url": f"s3://{BUCKET}/site/1", "endpoint": self.endpoint, "allow_http": True}
        return {**values, "timeout_s": 5, "access_key": KEY, "secret_key": SECRET, **more}

    def options(self, **more: Any) -> UploadOptions:
        """The same, checked."""
        return UploadOptions.model_validate(self.values(**more))
