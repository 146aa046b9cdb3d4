"""``uploads``: where finished clips are copied to."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import SecretStr, model_validator
from pydantic_core import PydanticCustomError

from sightline.config.option_group import OptionGroup, matching, restarts

Url = Annotated[
    str,
    matching(
        r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#{}\s]*)?|file:///[^?#]+",
        "must be s3://BUCKET/PREFIX or file:///FOLDER",
    ),
]
Endpoint = Annotated[str, matching(r"https?://[^/@?#\s]+/?", "must be http(s)://HOST:PORT, without a user")]


class UploadOptions(OptionGroup):
    """``uploads``: a store of S3's kind, or a folder, to which finished clips are copied."""

    url: Url | None = restarts(None, "s3://BUCKET/PREFIX, or file:///FOLDER; null: nowhere.")
    endpoint: Endpoint | None = restarts(None, "http(s)://HOST:PORT of a store of S3's kind; null: Amazon's.")
    region: str = restarts("us-east-1", "Its region.")
    access_key: SecretStr | None = restarts(
        None, "Its access key; null: as AWS' own tools find one, in the environment or the machine's role."
    )
    secret_key: SecretStr | None = restarts(None, "The secret access key that belongs to it.")
    allow_http: bool = restarts(False, "Allow an endpoint without TLS.")
    timeout_s: float = restarts(60.0, "Of one request; large files are sent in parts.", gt=0, le=600)
    delete_local: bool = restarts(False, "Delete a clip's files here once they are there.")

    @property
    def folder(self) -> Path | None:
        """The folder of a ``file:`` URL; None: the store is another."""
        is_folder = self.url is not None and self.url.startswith("file:")
        return Path(url2pathname(urlsplit(self.url).path)) if self.url and is_folder else None

    @model_validator(mode="after")
    def _check(self) -> "UploadOptions":
        if (self.access_key is None) != (self.secret_key is None):
            raise PydanticCustomError("key", "access_key and secret_key need each other")
        if self.endpoint is not None and self.endpoint.startswith("http:") and not self.allow_http:
            raise PydanticCustomError(
                "endpoint", "is http without TLS; set allow_http: true if that is meant"
            )
        return self
