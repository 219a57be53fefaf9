from headrace.runtime.service import run
from services.console.app import build
from services.console.settings import Settings

run(build(Settings()))
