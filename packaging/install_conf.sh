#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs the example as the configuration where there is none yet: one that was edited is kept.
# Usage: install_conf.sh FILE FOLDER (DESTDIR is honoured)
set -eu
folder=${DESTDIR:-}$2
[ -e "$folder/underpassd.conf" ] && exit 0
mkdir -p "$folder"
install -m 644 "$1" "$folder/underpassd.conf"
