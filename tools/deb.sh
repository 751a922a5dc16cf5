#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Packages of the working tree for the Debian or Ubuntu that it runs on, in BUILD/deb, which is made anew.
# Usage: tools/deb.sh [BUILD]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
tree=$build/deb/underpass

if ! command -v dh >/dev/null; then
	echo "deb: debhelper is not installed (tools/deps.sh build package)" >&2
	exit 1
fi
rm -rf "$build/deb"
mkdir -p "$tree"
tar -c --exclude=./.git --exclude="./$build" --exclude='./build-*' . | tar -x -C "$tree"
mv "$tree/packaging/debian" "$tree/debian"

# A text that stands for itself as the replacement of sed's s///.
escape() {
	printf '%s\n' "$1" | sed 's,[\\/&],\\&,g'
}

version=$(sed -n "s/^  version: '\(.*\)',/\1/p" meson.build)
maintainer=$(git log -1 --format='%an <%ae>' 2>/dev/null) || maintainer='root <root@localhost>'
sed -i -e "s/@version@/$version/" -e "s/@maintainer@/$(escape "$maintainer")/" -e "s/@date@/$(date -R)/" \
	"$tree/debian/changelog" "$tree/debian/control"
cd "$tree"
dpkg-buildpackage --unsigned-source --unsigned-changes --build=binary
cd ..
ls -- *.deb
