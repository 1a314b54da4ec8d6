#!/bin/sh
# Installs the wheels of HOME/wheels.tar into a virtual environment of their own, and makes it the current one.
#
#   install.sh HOME CHECKSUM PYTHON
#
# A broken-off installation leaves a folder that nothing uses; the next call takes it away. The environment before
# stays until the new one is whole, so an agent that restarts meanwhile finds all its files.
set -eu
home=$1 checksum=$2 python=$3
new=$home/env-$(echo "$checksum" | cut -c 1-12)
old=$(readlink "$home/current" || true)

# The same wheels installed by halves, or to be installed once more, need another place than the one in use.
if [ "$old" = "$new" ]; then new=$new-again; fi
rm -rf "$new" "$home/wheels" "$home/current.new"
mkdir "$home/wheels"
tar -xf "$home/wheels.tar" -C "$home/wheels"

# With system packages: libvirt's Python module comes from the distribution.
# Debian keeps pip as a wheel for new environments; running it from there saves installing it.
pip=$(ls /usr/share/python-wheels/pip-*.whl 2>/dev/null | tail -n 1)
if [ -n "$pip" ]; then
    "$python" -m venv --system-site-packages --without-pip "$new"
    pip="$new/bin/python $pip/pip"
else
    "$python" -m venv --system-site-packages "$new"
    pip="$new/bin/python -m pip"
fi
PIP_ROOT_USER_ACTION=ignore $pip --quiet --disable-pip-version-check --no-cache-dir \
    install --no-index --no-deps --ignore-installed "$home"/wheels/*.whl
echo "$checksum" >"$new/wheels.sha256"

ln -s "$new" "$home/current.new"
mv -T "$home/current.new" "$home/current"
rm -rf "$home/wheels" "$home/wheels.tar"
for env in "$home"/env-*; do
    if [ "$env" != "$new" ]; then rm -rf "$env"; fi
done
