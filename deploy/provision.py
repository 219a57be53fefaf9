"""`python -m deploy.provision`: makes fresh backends usable, once before the services start.

The native stack does the same through `deploy.local.provision`. Every run may be repeated.
"""

import asyncio

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.runtime.provision import apply_bucket, apply_roles, apply_topics


class Settings(BaseSettings):
    """Superuser access to the backends, and the password each service is going to log in with."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_PROVISION_", frozen=True)

    kafka: str
    admin_url: SecretStr
    tracking_password: SecretStr
    registry_password: SecretStr
    orchestrator_password: SecretStr
    serving_password: SecretStr
    monitoring_password: SecretStr
    s3_endpoint: str
    s3_bucket: str = "headrace"
    s3_access_key: str
    s3_secret_key: SecretStr

    def passwords(self) -> dict[str, str]:
        """Password by login role."""
        return {
            "tracking": self.tracking_password.get_secret_value(),
            "registry": self.registry_password.get_secret_value(),
            "orchestrator": self.orchestrator_password.get_secret_value(),
            "serving": self.serving_password.get_secret_value(),
            "monitoring": self.monitoring_password.get_secret_value(),
        }


async def provision(settings: Settings) -> None:
    """Roles and schemas, topics, the bucket."""
    await apply_roles(settings.admin_url.get_secret_value(), settings.passwords())
    await apply_topics(settings.kafka)
    await apply_bucket(
        endpoint=settings.s3_endpoint,
        bucket=settings.s3_bucket,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
    )


if __name__ == "__main__":
    asyncio.run(provision(Settings()))
