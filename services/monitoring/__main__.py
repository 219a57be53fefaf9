"""`python -m services.monitoring`: run the service with settings from the environment."""

from headrace.runtime.service import run
from services.monitoring.app import build
from services.monitoring.settings import Settings

if __name__ == "__main__":
    run(build(Settings()))
