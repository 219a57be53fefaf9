#!/bin/sh
# Generates shared/headrace/rpc from proto/; `make proto`.
set -eu
cd "$(dirname "$0")/.."
exec .venv/bin/python proto/generate.py
