"""URLs by which a client reads or writes one blob without further credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION: Final = "us-east-1"
MAX_SECONDS: Final = 604_800
"""S3 takes no signature that is valid for longer than a week."""


@dataclass(frozen=True, kw_only=True)
class UrlSigner:
    """Signs for `endpoint`, which must be the address by which the clients reach the store.

    The signature covers the host name: a URL that is rewritten on its way is refused.
    """

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str

    def read(self, key: str, *, seconds: int) -> str:
        """Where to GET a blob, whole or by Range."""
        return self._signed("GET", key, {}, seconds)

    def write(self, key: str, *, seconds: int) -> str:
        """Where to PUT a blob in one piece."""
        return self._signed("PUT", key, {}, seconds)

    def part(self, key: str, *, upload_id: str, number: int, seconds: int) -> str:
        """Where to PUT one part (from 1) of an upload that was begun."""
        parameters = {"partNumber": str(number), "uploadId": upload_id}
        return self._signed("PUT", key, parameters, seconds)

    def _signed(self, method: str, key: str, parameters: dict[str, str], seconds: int) -> str:
        place = f"{self.endpoint.rstrip('/')}/{self.bucket}/{quote(key, safe='/~')}"
        request = AWSRequest(method=method, url=place, params=parameters)
        credentials = Credentials(self.access_key, self.secret_key)
        S3SigV4QueryAuth(credentials, "s3", REGION, expires=seconds).add_auth(request)
        return str(request.url)
