#!/bin/sh
# Generates shared/headrace/rpc from proto/headrace; `make proto`.
set -eu
cd "$(dirname "$0")/.."
cd proto/headrace
find . -name '*.proto' | sed 's|^\./||' | xargs ../../.venv/bin/python -m grpc_tools.protoc \
    -I . --plugin=protoc-gen-mypy=../../.venv/bin/protoc-gen-mypy \
    --python_out=../../shared/headrace/rpc --mypy_out=../../shared/headrace/rpc
