#!/usr/bin/env bash
# test-container.sh BASE.tar EDGE-GER.deb: builds the image of the Containerfile with buildah, from the Debian 12 in
# BASE.tar instead of one from a registry, and runs it until a reading arrives at a broker. Needs root. It deletes
# everything that it makes.
set -euo pipefail
base=$(realpath "$1") deb=$(realpath "$2")
cd "$(dirname "$0")/.."

# Mounts and processes end with their namespaces, however this script ends.
if [ -z "${INSIDE:-}" ]; then
    INSIDE=1 exec unshare --mount --pid --fork --kill-child --mount-proc --propagation private "$0" "$base" "$deb"
fi

work=$(mktemp -d)
clean() {
    set +e
    # shellcheck disable=SC2046
    kill $(jobs -p) 2> /dev/null
    wait
    findmnt -rn -o TARGET | grep "^$work/" | sort -r | xargs -r umount -l
    rm -rf --one-file-system "$work"
}
trap clean EXIT
chmod 755 "$work"
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
in_store() { buildah --root "$work/storage" --runroot "$work/run" "$@"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

bare=$(in_store from scratch)
in_store add -q "$bare" "$base" / > /dev/null
in_store commit -q --rm "$bare" docker.io/library/debian:12-slim > /dev/null
mkdir "$work/context" "$work/cameras" "$work/secrets"
cp "$deb" "$work/context"
in_store build --pull-never -t edge-ger -f packaging/Containerfile "$work/context"
container=$(in_store from --pull-never localhost/edge-ger)
in_store run "$container" -- edge-ger --version

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cp demo/group.mp4 "$work/cameras"
sed -e 's|^url = .*|url = "file:group.mp4"|' -e 's|^host = .*|host = "127.0.0.1"|' configs/minimal.toml \
    > "$work/cameras/hall.toml"
printf 'port = %s\nuser = "box"\npassword_file = "credential:mqtt"\n' "$port" >> "$work/cameras/hall.toml"
echo "a password" > "$work/secrets/mqtt"
chown 990 "$work/secrets/mqtt"
chmod 400 "$work/secrets/mqtt"
printf 'listener %s 127.0.0.1\nallow_anonymous false\npassword_file %s\nuser root\n' "$port" "$work/passwords" \
    > "$work/mosquitto.conf"
mosquitto_passwd -c -b "$work/passwords" box "a password" 2> /dev/null
mosquitto -c "$work/mosquitto.conf" > "$work/mosquitto.log" 2>&1 &
timeout 30 sh -c \
    "until mosquitto_pub -p $port -u box -P 'a password' -t started -n 2> /dev/null; do sleep 0.1; done"
in_store run -v "$work/cameras:/etc/edge-ger:ro" -v "$work/secrets:/run/secrets:ro" "$container" -- \
    /usr/bin/edge-ger /etc/edge-ger 2> "$work/daemon.log" &
timeout 120 mosquitto_sub -h 127.0.0.1 -p "$port" -u box -P "a password" -t 'edge-ger/+/hall/reading' \
    | grep -m 1 -v '"label":"withheld"' \
    || { cat "$work/daemon.log" "$work/mosquitto.log"; fail "no labelled reading"; }
[ "$(ps -C edge-ger -o uid= | sort -u | tr -d ' ')" = 990 ] || fail "the daemon does not run as its user"
echo Passed
