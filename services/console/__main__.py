"""`python -m services.console`."""

from headrace.runtime.service import run
from services.console.app import build
from services.console.settings import Settings

if __name__ == "__main__":
    run(build(Settings()))
