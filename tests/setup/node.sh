#!/bin/sh
# Brings node-opcua, the second OPC UA stack the tests read from, into the development environment; only where it is missing.
set -eu
version=2.182.2
folder=$1/node
[ ! -e "$folder/$version" ] || exit 0
if ! command -v npm >/dev/null; then
    echo "Missing, so the tests that need it are skipped: node-opcua (npm is not there)" >&2
    exit 0
fi
mkdir -p "$folder"
# No lock file: it would record the address of a registry. No scripts: none is needed.
(cd "$folder" && npm install --silent --no-package-lock --no-save --no-audit --no-fund --ignore-scripts "node-opcua@$version" >/dev/null) &&
    touch "$folder/$version" || echo "could not install node-opcua" >&2
