#!/bin/sh
# Makes the virtual environment; brings python3-venv from the distribution where root, else names it.
set -eu
python=$1 venv=$2
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Tanbiao needs Python 3.11 or later; $python is $("$python" --version 2>&1). 需要 Python 3.11 或更高版本。" >&2
    exit 1
}
[ -x "$venv/bin/pip" ] && exit 0
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    else
        echo "python3-venv is missing: sudo apt-get install python3-venv (缺少 python3-venv)" >&2
        exit 1
    fi
fi
echo "Setting up $venv (a minute or two) / 正在建立环境……"
"$python" -m venv "$venv"
