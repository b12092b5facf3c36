#!/usr/bin/env bash
# test.sh BASE.tar EDGE-GER.deb: does what an operator does with the package, from the first installation to purge, on
# the bare Debian 12 of BASE.tar in a chroot. Needs root.
#
# systemd does not run in a chroot. A fake `systemctl` records the requests of the maintainer scripts. The test starts
# the daemon with the command of its unit, as its user, with the folders that the unit names. The limits of the unit
# are not in force there.
set -euo pipefail
base=$(realpath "$1") deb=$(realpath "$2")
packaging=$(realpath "$(dirname "$0")")

# Mounts and processes end with their namespaces, however this script ends.
if [ -z "${INSIDE:-}" ]; then
    INSIDE=1 exec unshare --mount --pid --fork --kill-child --mount-proc --propagation private "$0" "$base" "$deb"
fi

work=$(mktemp -d)
root=$work/bookworm
clean() {
    set +e
    # shellcheck disable=SC2046
    kill $(jobs -p) 2> /dev/null
    wait
    umount "$root/usr/bin/systemctl" 2> /dev/null
    umount "$root/proc"
    rm -rf --one-file-system "$work"
}
trap clean EXIT

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"
}
install() { inside apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 "$@"; }
asked() { cat "$root/run/asked"; : > "$root/run/asked"; }

# Every file with its mode and owner, and every user, group and package.
state() {
    (cd "$root" && find . \( -path ./proc -o -path ./run -o -path ./tmp -o -path ./var/cache/apt \
        -o -path ./var/lib/apt -o -path ./var/lib/dpkg -o -path ./var/log -o -path './etc/passwd-' \
        -o -path './etc/group-' -o -path './etc/shadow-' -o -path './etc/gshadow-' \) -prune \
        -o ! -name ld.so.cache -printf '%p %y %m %U %G\n' | sort)
    (cd "$root/etc" && cat passwd group gshadow && cut -d: -f1 shadow)
    # shellcheck disable=SC2016
    inside dpkg-query -W -f '${Package} ${Status}\n'
}

prepare() {
    mkdir "$root"
    tar -C "$root" --numeric-owner -xf "$base"
    mount -t proc proc "$root/proc"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    # The mirror and proxy settings of this machine, if it has any.
    apt-config dump | grep -E '^Acquire::(http|https|Check)' > "$root/etc/apt/apt.conf.d/90machine" || true
    cp "$deb" "$root/tmp/edge-ger.deb"
    cp "$packaging/../demo/group.mp4" "$root/tmp/group.mp4"
    chmod 644 "$root"/tmp/*
    mkdir -p "$root/run/systemd/system"
    cp "$root/usr/bin/systemctl" "$root/run/systemctl"
    cat > "$work/systemctl" << 'STAND_IN'
#!/bin/sh
# Answers only requests that need no running systemd.
case "$*" in
    *is-enabled* | *--root=*) exec /run/systemctl "$@" ;;
    *is-active*) exit 3 ;;
    *) echo "$@" >> /run/asked ;;
esac
STAND_IN
    chmod 755 "$work/systemctl"
    : > "$root/run/asked"
    inside apt-get update -q
}

# After this the maintainer scripts behave as if systemd ran.
pretend() { mount --bind "$work/systemctl" "$root/usr/bin/systemctl"; }
pretend_no_more() { umount "$root/usr/bin/systemctl"; }

first_installation() {
    say "The dependencies of the package, and nothing else"
    inside apt-get -s install --no-install-recommends /tmp/edge-ger.deb | sed -n 's/^Inst \([^ ]*\) .*/\1/p' \
        | grep -vx edge-ger > "$work/depends"
    # shellcheck disable=SC2046
    install $(cat "$work/depends")
    state > "$work/before"
    say "Installation"
    pretend
    install /tmp/edge-ger.deb
    asked | tee "$work/asked"
    grep -q 'start edge-ger.service' "$work/asked" || fail "the service was not started"
    pretend_no_more
    [ "$(inside systemctl is-enabled edge-ger)" = enabled ] || fail "the unit is not enabled"
    inside edge-ger --version | tee "$work/version"
    grep -q '^ORT Build Info' "$work/version" || fail "ONNX Runtime was not found"
    inside edge-ger model verify /usr/share/edge-ger/edge-ger.onnx
    inside systemd-analyze --man=no verify edge-ger.service > "$work/verify" 2>&1 \
        || fail "the unit: $(cat "$work/verify")"
    ! grep edge-ger "$work/verify" || fail "the unit has a warning"
    inside runuser -u edge-ger -- test -r /etc/edge-ger || fail "the daemon may not read its configuration"
}

# The camera is a recording, and the broker requires a password.
configure() {
    say "Configuration, from the packaged example"
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    sed -e 's|^url = .*|url = "file:/tmp/group.mp4"|' -e 's|^host = .*|host = "127.0.0.1"|' \
        "$root/usr/share/doc/edge-ger/configs/minimal.toml" > "$root/etc/edge-ger/hall.toml"
    printf 'port = %s\nuser = "box"\npassword_file = "secrets/mqtt"\n' "$port" >> "$root/etc/edge-ger/hall.toml"
    inside edge-ger check /usr/share/doc/edge-ger/configs/minimal.toml
    inside install -m 640 /dev/null /etc/edge-ger/secrets/mqtt
    echo "a password" > "$root/etc/edge-ger/secrets/mqtt"
    [ "$(inside stat -c '%U:%G %a' /etc/edge-ger/secrets/mqtt)" = 'root:edge-ger 640' ] || fail "a secret's owner"
    ! inside runuser -u nobody -- cat /etc/edge-ger/secrets/mqtt 2> /dev/null || fail "everybody can read a secret"
}

# A command as the unit's user, and with its folders.
by_the_unit() {
    for kind in lib cache; do
        inside install -d -m 700 -o edge-ger -g edge-ger "/var/$kind/private/edge-ger"
        inside ln -sfn private/edge-ger "/var/$kind/edge-ger"
        # systemd does this with a mount that only the service sees.
        inside chmod 711 "/var/$kind/private"
    done
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/var/lib/edge-ger XDG_CACHE_HOME=/var/cache/edge-ger \
        STATE_DIRECTORY=/var/lib/edge-ger CACHE_DIRECTORY=/var/cache/edge-ger CONFIGURATION_DIRECTORY=/etc/edge-ger \
        chroot "$root" setpriv --reuid edge-ger --regid edge-ger --init-groups --no-new-privs --inh-caps=-all \
        --bounding-set=-all "$@"
}

runs_for_real() {
    say "The daemon, a broker, and a reading"
    printf 'listener %s 127.0.0.1\nallow_anonymous false\npassword_file %s\nuser root\n' "$port" "$work/passwords" \
        > "$work/mosquitto.conf"
    mosquitto_passwd -c -b "$work/passwords" box "a password" 2> /dev/null
    mosquitto -c "$work/mosquitto.conf" > "$work/mosquitto.log" 2>&1 &
    local broker=$!
    timeout 30 sh -c \
        "until mosquitto_pub -p $port -u box -P 'a password' -t started -n 2> /dev/null; do sleep 0.1; done"
    (by_the_unit edge-ger check /etc/edge-ger) > "$work/check" 2>&1 || fail "$(cat "$work/check")"
    ! grep 'may read it' "$work/check" || fail "a secret with the mode of the package causes a warning"
    local command
    command=$(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/edge-ger.service")
    # shellcheck disable=SC2086
    (by_the_unit $command) 2> "$work/daemon.log" &
    local daemon=$!
    timeout 120 mosquitto_sub -h 127.0.0.1 -p "$port" -u box -P "a password" -t 'edge-ger/+/hall/reading' \
        | grep -m 1 -v '"label":"withheld"' \
        || { cat "$work/daemon.log" "$work/mosquitto.log"; fail "no labelled reading"; }
    [ "$(ps -o user:20= -p "$daemon" | tr -d ' ')" != root ] || fail "the daemon runs as root"
    kill -TERM "$daemon"
    wait "$daemon" || fail "the daemon ended with $?: $(cat "$work/daemon.log")"
    kill "$broker"
    wait "$broker" || true
    inside chmod 700 /var/lib/private /var/cache/private
    sed -n '/WARN\|ERROR/p' "$work/daemon.log"
}

upgrade() {
    say "Upgrade, with a conffile that the operator changed and the next version changes, too"
    echo 'EDGE_GER_LOG=debug' >> "$root/etc/default/edge-ger"
    sha256sum "$root/etc/default/edge-ger" "$root/etc/edge-ger/hall.toml" > "$work/kept"
    "$packaging/next-version.sh" "$deb" "$root/tmp/next.deb"
    pretend
    install -o Dpkg::Options::=--force-confold /tmp/next.deb
    asked | tee "$work/asked"
    grep -q 'try-restart edge-ger.service' "$work/asked" || fail "the running service was not restarted"
    ! grep -qE '(^| )(start|restart|stop) edge-ger.service' "$work/asked" || fail "a stopped service may be running now"
    pretend_no_more
    # shellcheck disable=SC2016
    inside dpkg-query -W -f '${Version}\n' edge-ger | grep '+next$' || fail "the version is the old one"
    sha256sum -c "$work/kept" || fail "the operator's files were changed"
    inside edge-ger check /etc/edge-ger > /dev/null
}

removal() {
    say "Removal"
    pretend
    inside apt-get remove -y -q -o Dpkg::Use-Pty=0 edge-ger
    asked | tee "$work/asked"
    grep -q 'stop edge-ger.service' "$work/asked" || fail "the service was not stopped"
    pretend_no_more
    [ ! -e "$root/usr/bin/edge-ger" ] || fail "the program is still there"
    sha256sum -c "$work/kept" || fail "the operator's files were changed"
    say "Purge"
    inside apt-get purge -y -q -o Dpkg::Use-Pty=0 edge-ger
    state > "$work/after"
    diff "$work/before" "$work/after" || fail "something is left, or something is missing"
}

prepare
first_installation
configure
runs_for_real
upgrade
removal
say "Passed"
