#!/bin/sh
# Brings the real servers the tests use from Debian's packages: only what is missing, only where root.
set -eu
missing=
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"; }
need mosquitto mosquitto
need chromium chromium
need strace strace
need systemd-analyze systemd
need gcc "gcc libc6-dev"
need socat socat
need npm "nodejs npm"
[ -e /usr/include/modbus/modbus.h ] || missing="$missing libmodbus-dev"
fc-list :lang=zh 2>/dev/null | grep -q . || missing="$missing fontconfig fonts-noto-cjk"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Missing, so the tests that need them are skipped:$missing" >&2
    echo "Install them with: sudo apt-get install$missing" >&2
    exit 0
fi
echo "Installing for the tests:$missing"
apt-get update -qq
for package in $missing; do
    # A server starts with its package on a machine with systemd; the tests start their own instead.
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
        echo "could not install $package" >&2
done
