"""How to reach the backends of a stack: plain values that can be handed to another process."""

import json
from dataclasses import asdict, dataclass, field
from urllib.parse import quote

from deploy.local.credentials import Credentials
from deploy.local.ports import Ports

DATABASE = "headrace"
BUCKET = "headrace"
ADMIN = "postgres"


@dataclass(frozen=True, kw_only=True)
class Backends:
    """Addresses and credentials of Kafka, PostgreSQL and S3 on loopback."""

    kafka: str
    postgres_port: int
    s3_endpoint: str
    s3_bucket: str = BUCKET
    s3_access_key: str
    s3_secret_key: str = field(repr=False)
    admin_password: str = field(repr=False)
    role_passwords: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, ports: Ports, credentials: Credentials) -> "Backends":
        """The backends of the stack on these ports with these credentials."""
        return cls(
            kafka=f"127.0.0.1:{ports['kafka']}",
            postgres_port=ports["postgres"],
            s3_endpoint=f"http://127.0.0.1:{ports['s3']}",
            s3_access_key=credentials.s3_access_key,
            s3_secret_key=credentials.s3_secret_key,
            admin_password=credentials.postgres,
            role_passwords=credentials.roles,
        )

    def admin_url(self, database: str = DATABASE) -> str:
        """Connection URL of the superuser."""
        return self._url(ADMIN, self.admin_password, database)

    def database_url(self, role: str, database: str = DATABASE) -> str:
        """Connection URL of one service's login role, such as "tracking"."""
        return self._url(role, self.role_passwords[role], database)

    def to_json(self) -> str:
        """Everything, secrets included, for a file with mode 0600."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Backends":
        """The inverse of `to_json`."""
        return cls(**json.loads(text))

    def _url(self, role: str, password: str, database: str) -> str:
        login = f"{role}:{quote(password, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{self.postgres_port}/{database}"
