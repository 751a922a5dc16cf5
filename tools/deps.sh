#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs what is missing for the given purposes: build; vm (virtual machines, for the demo and the tests);
# check (the other tests); bench (what libunderpass is measured beside). All of these by default; and package
# (what makes packages of a distribution's format). Asks nothing, uses
# sudo where it is not root, and does nothing at all where nothing is missing. With --rebuild FOLDER that build
# folder learns of what was installed. On a distribution that it does not know it prints the list, and is content.

set -eu

# purpose, Debian and Ubuntu package, Fedora package. a|b: the first that exists. -: not needed there.
table='
build	gcc			gcc
build	libc6-dev		glibc-devel
build	make			make
build	meson			meson
build	ninja-build		ninja-build
build	pkg-config|pkgconf	pkgconf-pkg-config
build	libsystemd-dev		systemd-devel
build	libjansson-dev		jansson-devel
build	libconfig-dev		libconfig-devel
build	libncurses-dev		ncurses-devel
build	uthash-dev		uthash-devel
build	libcmocka-dev		libcmocka-devel
build	libfabric-dev		libfabric-devel
vm	python3			python3
vm	dpkg			dpkg
vm	apt			apt
vm	tar			tar
vm	ca-certificates		ca-certificates
vm	debian-archive-keyring	debian-keyring
vm	debootstrap		debootstrap
vm	xz-utils		xz
vm	zstd			zstd
check	clang			clang
check	libclang-rt-dev|clang	compiler-rt
check	clang-format		clang-tools-extra
check	clang-tidy		-
check	cppcheck		cppcheck
check	git			git
check	python3			python3
check	mandoc			-
check	libfabric-bin		libfabric
check	libopenmpi-dev		openmpi-devel
check	openmpi-bin		openmpi
check	iproute2		iproute
check	-			libasan
check	-			libubsan
check	-			libtsan
bench	python3			python3
bench	libopenmpi-dev		openmpi-devel
bench	openmpi-bin		openmpi
bench	libucx-dev		ucx-devel
bench	iproute2		iproute
package	debhelper		debhelper
'

say() {
	echo "deps: $*" >&2
}

die() {
	say "$*"
	exit 1
}

has_package() {
	case $family in
	debian) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
	fedora) rpm -q --whatprovides "$1" >/dev/null 2>&1 ;;
	esac
}

known_package() {
	case $family in
	debian) apt-cache show --no-all-versions "$1" >/dev/null 2>&1 ;;
	fedora) true ;;
	esac
}

# Prints the alternatives of $1 (a|b) that would have to be installed: nothing where one is there.
missing() {
	for name in $(echo "$1" | tr '|' ' '); do
		if has_package "$name"; then
			return
		fi
	done
	echo "$1"
}

# Prints the first of $1 (a|b) that the distribution knows.
choose() {
	for name in $(echo "$1" | tr '|' ' '); do
		if known_package "$name"; then
			echo "$name"
			return
		fi
	done
	echo "${1%%|*}"
}

# For people who install by hand: what to look for, under another distribution's names.
print_list() {
	say "neither apt nor dnf is here, so nothing is installed. These are needed, under Debian's names:"
	for purpose in "$@"; do
		say "  $purpose: $(echo "$table" | awk -v p="$purpose" '$1 == p && $2 != "-" { print $2 }' | xargs)"
	done
}

rebuild=''
if [ "${1:-}" = --rebuild ]; then
	rebuild=$2
	shift 2
fi
[ $# -gt 0 ] || set -- build vm check bench
[ "$(uname -m)" = x86_64 ] || die "this machine is $(uname -m); only x86_64 is supported"
column=2
if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null && [ -e /etc/debian_version ]; then
	family=debian
elif command -v dnf >/dev/null; then
	family=fedora
	column=3
else
	print_list "$@"
	exit 0
fi

wanted=''
for purpose in "$@"; do
	names=$(echo "$table" | awk -v p="$purpose" -v c=$column '$1 == p && $c != "-" { print $c }')
	[ -n "$names" ] || die "unknown purpose '$purpose': there are build, vm, check, bench and package"
	for package in $names; do
		wanted="$wanted $(missing "$package")"
	done
done
wanted=$(echo "$wanted" | xargs)
[ -n "$wanted" ] || exit 0

run=''
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || die "missing: $wanted. Run this as root, or install sudo."
	run=sudo
	say "using sudo, which may ask for your password"
fi
case $family in
debian)
	say "reading the package lists"
	$run apt-get -q -q update
	packages=''
	for name in $wanted; do
		packages="$packages $(choose "$name")"
	done
	say "installing$packages"
	# shellcheck disable=SC2086  # a list of names
	$run env DEBIAN_FRONTEND=noninteractive apt-get -q -q -y --no-install-recommends install $packages
	;;
fedora)
	say "installing $wanted"
	# shellcheck disable=SC2086
	$run dnf -q -y --setopt=install_weak_deps=False install $wanted
	;;
esac
if [ -n "$rebuild" ] && [ -e "$rebuild/build.ninja" ]; then
	meson setup --reconfigure "$rebuild"
fi
say "done"
