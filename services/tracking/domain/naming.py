"""Names for runs and models that nobody named."""

from __future__ import annotations

import hashlib
from typing import Final

_ADJECTIVES: Final = """
able amber brave bright calm clear clever crisp deep eager early fair fast fine fresh gentle
glad golden grand handy honest humble keen kind light lively lucky mellow merry mild neat noble
patient plain polite proud quick quiet rapid rare ready rich robust rosy sharp shiny silent
silver simple sleek smooth snug solid steady strong sunny swift tidy vivid warm wise
"""
_NOUNS: Final = """
ash badger basin bay beaver birch bridge brook canal cedar cliff cove crane creek dale dam
delta dove elm falcon ferry finch fjord flume ford fox gate glen grebe grove harbour hare hawk
heron hill island kestrel lagoon lake larch lark lock marsh meadow mill moor otter owl pike
pond race reed ridge river robin sluice spring stream swan tern trout weir wheel willow
"""


def name_for(identity: str) -> str:
    """A name like `calm-weir-12`: the same identity has the same name."""
    adjectives, nouns = _ADJECTIVES.split(), _NOUNS.split()
    number = int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest())
    number, adjective = divmod(number, len(adjectives))
    number, noun = divmod(number, len(nouns))
    return f"{adjectives[adjective]}-{nouns[noun]}-{number % 1000}"
