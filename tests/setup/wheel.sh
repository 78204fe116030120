#!/bin/sh
# Builds the wheel, installs it beside the pinned packages into an environment of its own, and runs the tests from an empty folder.
set -eu
python=$1 venv=$(cd "$2" && pwd)
root=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$venv/bin/python" -c 'import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))' "$work" >/dev/null
"$python" -m venv "$work/venv"
# The pinned packages are those of the development environment; only Tanbiao itself comes from the wheel.
site=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
for path in "$venv"/lib/python*/site-packages/*; do
    case $(basename "$path") in
        tanbiao-*|_editable_impl_tanbiao.pth|__editable__*|pip|pip-*) ;;
        *) [ -e "$site/$(basename "$path")" ] || ln -s "$path" "$site/" ;;
    esac
done
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-index "$work"/tanbiao-*.whl
mkdir "$work/away"
cp -r "$root/tests" "$work/away/tests"
sed -n '/^\[tool.pytest/,/^$/p' "$root/pyproject.toml" > "$work/away/pyproject.toml"
cd "$work/away"
TANBIAO_WHEEL=1 PATH="$work/venv/bin:$PATH" "$work/venv/bin/python" -m pytest -n 2 -m "not external and not slow" tests
