"""Rules of uploads in parts."""

from __future__ import annotations

import re
from typing import Final

from headrace.errors import InvalidInput

MAX_PARTS: Final = 10_000
"""S3's bound."""
_UPLOAD_ID: Final = re.compile(r"[A-Za-z0-9._~=+\-]{1,1024}")


def check_upload_id(upload_id: str) -> str:
    """The id if it can be one: stores name folders by it. Raises InvalidInput."""
    if _UPLOAD_ID.fullmatch(upload_id) is None or ".." in upload_id:
        raise InvalidInput("Invalid value for parameter 'upload_id' supplied.", field="upload_id")
    return upload_id


def check_part_number(number: int) -> int:
    """The number of a part, from 1. Raises InvalidInput."""
    if not 1 <= number <= MAX_PARTS:
        raise InvalidInput(
            f"Invalid value {number} for parameter 'part_number' supplied. It must be from 1 to "
            f"{MAX_PARTS}",
            field="part_number",
        )
    return number
