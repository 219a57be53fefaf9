"""Blobs in S3: one long-lived client a process; contents are named by their digest.

A key is a path inside the bucket, a URI is `s3://bucket/key`; functions that read take either.
"""

from headrace.runtime.blobs.model import (
    BlobInfo,
    BlobRef,
    Conditions,
    ListingPage,
    OpenBlob,
    PartRef,
    digest_of,
)
from headrace.runtime.blobs.signing import UrlSigner
from headrace.runtime.blobs.store import Blobs

__all__ = [
    "BlobInfo",
    "BlobRef",
    "Blobs",
    "Conditions",
    "ListingPage",
    "OpenBlob",
    "PartRef",
    "UrlSigner",
    "digest_of",
]
