#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install Debian 12 packages by set:  tools/install-packages.sh SET...
# Idempotent, and quick when nothing is missing: apt-get is called only for what is not there.
set -eu

usage="usage: $0 build|demo|check|software|lint ..."

# To build and run the supervisor.
set_build="gcc libc6-dev make pkg-config libev-dev libinih-dev libsystemd-dev libdw-dev libstdc++-12-dev
	libcurl4-openssl-dev libexpat1-dev"
# A bus, busctl (package systemd), and namespaces.
set_bus="dbus-daemon systemd util-linux iproute2"
# A real ROS 1 graph (master, rosout, pcl_ros' nodelets) and what our own nodes are built with.
set_ros="python3 python3-rosmaster rosout libnodeletlib-tools libpcl-ros-filters0d
	g++ libroscpp-dev libsensor-msgs-dev"
set_check="libcmocka-dev python3-rostopic libpython3.11-testsuite nginx-light openssl redis-server
	redis-tools sqlite3 wrk"
# What is too large for make check: a JVM with its compiler, and node.js.
set_software="openjdk-17-jdk-headless nodejs"
set_lint="clang-tidy clang-format cppcheck shellcheck"

[ $# -gt 0 ] || {
	echo "$usage" >&2
	exit 2
}
wanted=
for s in "$@"; do
	case $s in
	build) wanted="$wanted $set_build" ;;
	demo) wanted="$wanted $set_build $set_bus $set_ros" ;;
	check) wanted="$wanted $set_build $set_bus $set_ros $set_check" ;;
	software) wanted="$wanted $set_build $set_bus $set_software" ;;
	lint) wanted="$wanted $set_build $set_lint" ;;
	*)
		echo "$0: no package set \"$s\"; $usage" >&2
		exit 2
		;;
	esac
done
# shellcheck disable=SC2086 # a list of words
wanted=$(printf '%s\n' $wanted | sort -u)

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	{
		echo "$0: there is no apt-get here, so nothing was installed."
		echo "Install what Debian 12 calls by these names, then run make with PACKAGES=no:"
		# shellcheck disable=SC2086
		printf '  %s\n' $wanted
	} >&2
	exit 1
fi

missing=
for p in $wanted; do
	dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed ||
		missing="$missing $p"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || {
		echo "$0: not root and no sudo; as root: apt-get install --no-install-recommends$missing" >&2
		exit 1
	}
	as_root=sudo
fi
apt() {
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}
# Some of these are daemons. They are wanted as programs: none is to be started now.
policy=/usr/sbin/policy-rc.d
quiet() {
	[ ! -e "$policy" ] || return 0
	printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
	$as_root chmod 755 "$policy"
	trap '$as_root rm -f "$policy"' EXIT
	trap 'exit 1' INT TERM HUP
}
echo "installing:$missing"
quiet
apt update
# shellcheck disable=SC2086
apt install --no-install-recommends $missing
