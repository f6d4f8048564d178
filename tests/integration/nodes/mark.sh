#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mark.sh FILE NAME [GATE]: one line in FILE when started, one when ended by a signal. Where there
# is a NOTIFY_SOCKET it says that it is ready, and before that waits for a line from the pipe GATE.
file=$1 name=$2 gate=${3:-}
trap 'echo "$name stop" >>"$file"; exit 0' TERM INT
echo "$name start" >>"$file"
[ -z "$gate" ] || read -r _ <"$gate"
[ -z "${NOTIFY_SOCKET:-}" ] || systemd-notify --ready --status="$name is ready"
while :; do
	sleep 1000 &
	wait $!
done
