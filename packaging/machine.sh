#!/usr/bin/env bash
# machine.sh: runs in the virtual machine of test-machine.sh, as root, once for each of its two starts. Its output is the
# output of the test. The last line is "== Passed" if there was no fault. Then it switches the machine off.
set -euo pipefail
cd "$(dirname "$0")"
end=poweroff
trap 'systemctl --no-block "$end"' EXIT
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive SYSTEMD_COLORS=0 SYSTEMD_PAGER=

say() { printf '\n== %s\n' "$*"; }
fail() {
    journalctl -u edge-ger -b -o cat -n 60 || true
    systemctl status --lines=0 edge-ger || true
    printf 'FAILED: %s\n' "$*"
    exit 1
}
# within SECONDS COMMAND...: repeats the command until it succeeds.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "not in time: $*"
        sleep 0.2
    done
}
property() { systemctl show -P "$1" edge-ger; }
is() { [ "$(property "$1")" = "$2" ]; }
is_not() { ! is "$@"; }
install() { apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 "$@"; }

# What the service has written to the journal, and what the broker has received, since `from_now`.
from_now() {
    cursor=$(journalctl -n 1 --show-cursor -o cat | sed -n 's/^-- cursor: //p')
    heard=$(wc -l < /run/heard)
}
logged() { journalctl -u edge-ger --after-cursor="$cursor" -o cat | grep -e "$1"; }
heard() { grep -m 1 -e "$1" <(tail -n "+$((heard + 1))" /run/heard); }
# Waits for a reading of this camera with a label, or with the given reason.
reads() { within 600 heard "^edge-ger/box/$1/reading .*\"reason\":\"${2:-none}\""; }
process() { pgrep -x "ger-$1"; }
# Succeeds if the process of this name has another PID than the given one.
other_process() { local now; now=$(process "$1") && [ "$now" != "$2" ]; }

# Every file with its mode and owner, except for files that a running machine changes by itself; and every user, group and
# package.
state() {
    find / -xdev \( -path /tmp -o -path /var/tmp -o -path /var/cache/apt -o -path /var/lib/apt -o -path /var/lib/dpkg \
        -o -path /var/log -o -path /var/lib/systemd -o -path /var/lib/mosquitto -o -path /opt/trial -o -path /root \
        -o -name '*-' \) -prune \
        -o ! -name ld.so.cache -printf '%p %y %m %U %G\n' | sort
    find / -xdev -iname '*edge-ger*' -not -path '/opt/trial/*' -not -path '/var/cache/apt/*'
    (cd /etc && cat passwd group gshadow && cut -d: -f1 shadow)
    # shellcheck disable=SC2016
    dpkg-query -W -f '${Package} ${Status}\n'
}

peers() {
    say "$(uname -srm), $(systemctl --version | head -n 1), $(nproc) cores"
    printf 'listener 1883 127.0.0.1\nallow_anonymous false\npassword_file /etc/mosquitto/passwords\n' \
        > /etc/mosquitto/conf.d/trial.conf
    mosquitto_passwd -c -b /etc/mosquitto/passwords box "a password"
    chown mosquitto: /etc/mosquitto/passwords
    systemctl restart mosquitto
    ./camera.py group.mp4 viewer "another password" &
    listen
}

listen() {
    touch /run/heard
    within 60 mosquitto_pub -u box -P "a password" -t started -n
    mosquitto_sub -u box -P "a password" -t 'edge-ger/#' -F '%t %p' >> /run/heard &
}

first_installation() {
    say "Installation: without a camera nothing runs"
    state > /run/before
    install ./edge-ger.deb
    [ "$(systemctl is-enabled edge-ger)" = enabled ] || fail "the unit is not enabled"
    { is ActiveState inactive && is ConditionResult no; } || fail "it runs without a camera"
    systemctl status --no-pager edge-ger || true
    edge-ger --version
    edge-ger model verify /usr/share/edge-ger/edge-ger.onnx
}

configure() {
    say "Two cameras: one with RTSP and a user, and a recording"
    cp group.mp4 /srv/group.mp4
    cat > /etc/edge-ger/hall.toml << 'HALL'
[camera]
url = "rtsp://localhost:8554/camera"
user = "viewer"
password_file = "secrets/hall"

[sound]
source = "camera"

[gates]
motion_min = 0

[site]
context = "event"
notice = "sign at the entrance"

[mqtt]
host = "localhost"
user = "box"
password_file = "secrets/mqtt"

# An emulated processor takes half a minute for a window of the packaged network.
[model]
file = "/opt/trial/small.onnx"

[reading]
min_confidence = 0.34
smoothing = false
HALL
    printf '[camera]\nurl = "file:/srv/group.mp4"\n[gates]\nmotion_min = 0\n' > /etc/edge-ger/stage.toml
    command install -m 640 /dev/null /etc/edge-ger/secrets/hall
    command install -m 640 /dev/null /etc/edge-ger/secrets/mqtt
    echo "another password" > /etc/edge-ger/secrets/hall
    echo "a password" > /etc/edge-ger/secrets/mqtt
    edge-ger check /etc/edge-ger
}

first_start() {
    say "The first start: READY, then readings of both cameras"
    from_now
    systemctl start edge-ger
    is SubState running || fail "systemd was not told READY"
    reads hall
    reads stage
    systemctl status --no-pager --lines=0 edge-ger
    journalctl -u edge-ger --after-cursor="$cursor" -o short
}

limits() {
    say "Limits that the unit and the processes enforce"
    systemd-analyze security --no-pager edge-ger | tail -n 1
    local pid
    while read -r pid; do
        printf '%-12s' "$(cat "/proc/$pid/comm")"
        grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp|Seccomp_filters):' "/proc/$pid/status" | tr -s '\t\n' ' '
        echo
        grep -qx $'Seccomp:\t2' "/proc/$pid/status" || fail "no filter of system calls"
        grep -qx $'CapBnd:\t0000000000000000' "/proc/$pid/status" || fail "capabilities"
        ! grep -q $'^Uid:\t0' "/proc/$pid/status" || fail "root"
    done < "/sys/fs/cgroup$(property ControlGroup)/cgroup.procs"
    logged 'infer: sandbox: no sockets (seccomp, every thread)' || fail "infer logs nothing about its sandbox"
}

pauses() {
    say "Pause and resume: by the command, and by a signal to the unit"
    from_now
    edge-ger pause /etc/edge-ger
    within 60 logged 'paused by'
    reads stage paused
    from_now
    edge-ger resume /etc/edge-ger
    within 60 logged 'the pause is over'
    reads stage
    from_now
    systemctl kill --signal=USR1 edge-ger
    within 60 logged 'paused by'
    from_now
    systemctl kill --signal=USR2 edge-ger
    within 60 logged 'the pause is over'
    [ "$(property NRestarts)" = 0 ] || fail "a signal ended it"
}

reloads() {
    say "Reload: a third camera, a device of this machine"
    modprobe vivid n_devs=1
    udevadm settle
    printf '[camera]\nurl = "v4l2:/dev/video0"\n[gates]\nmotion_min = 0\n' > /etc/edge-ger/device.toml
    from_now
    systemctl reload edge-ger
    within 120 logged 'camera [cb][a-z]* camera="device" codec'
    rm /etc/edge-ger/device.toml
    systemctl reload edge-ger
    within 60 heard '^edge-ger/box/device/status $'
}

processes_die() {
    say "Each process is killed, then the daemon itself; all are restarted"
    local name pid
    for name in ingest infer publish; do
        pid=$(process "$name")
        from_now
        kill -KILL "$pid"
        within 120 other_process "$name" "$pid"
        within 300 logged "back: .*process=$name"
        from_now
        reads stage
    done
    [ "$(property NRestarts)" = 0 ] || fail "systemd restarted the daemon because of one process"
    pid=$(property MainPID)
    kill -KILL "$pid"
    within 120 is NRestarts 1
    from_now
    reads stage
}

# SIGSTOP keeps the daemon alive without progress. The unit's three minutes are too long for the test.
hangs() {
    say "The daemon hangs: systemd's watchdog restarts it"
    mkdir -p /run/systemd/system/edge-ger.service.d
    printf '[Service]\nWatchdogSec=60s\n' > /run/systemd/system/edge-ger.service.d/watchdog.conf
    systemctl daemon-reload
    systemctl restart edge-ger
    from_now
    reads stage
    local fed restarts
    fed=$(property WatchdogTimestampMonotonic)
    within 60 is_not WatchdogTimestampMonotonic "$fed"
    restarts=$(property NRestarts)
    kill -STOP "$(property MainPID)"
    within 180 is_not NRestarts "$restarts"
    from_now
    reads stage
    logged 'atchdog' || journalctl -u edge-ger -o cat | grep -i watchdog
    rm -r /run/systemd/system/edge-ger.service.d
    systemctl daemon-reload
}

faults() {
    say "A configuration with a fault: reload keeps the old one, a start fails once and is not repeated"
    from_now
    echo 'luma = 3' >> /etc/edge-ger/stage.toml
    systemctl reload edge-ger
    within 60 logged 'the old one stays'
    reads stage
    systemctl reset-failed edge-ger
    ! systemctl restart edge-ger || fail "it started with a fault"
    systemctl status --no-pager --lines=20 edge-ger || true
    is ActiveState failed || fail "the start is repeated"
    sed -i '/^luma/d' /etc/edge-ger/stage.toml
    from_now
    systemctl restart edge-ger
    reads stage
}

credentials() {
    say "A password that only root can read, as a credential"
    mkdir /etc/systemd/system/edge-ger.service.d
    printf '[Service]\nLoadCredential=mqtt:/etc/edge-ger/secrets/mqtt\n' \
        > /etc/systemd/system/edge-ger.service.d/override.conf
    chown root: /etc/edge-ger/secrets/mqtt
    chmod 600 /etc/edge-ger/secrets/mqtt
    sed -i 's|"secrets/mqtt"|"credential:mqtt"|' /etc/edge-ger/hall.toml
    systemctl daemon-reload
    from_now
    systemctl restart edge-ger
    reads stage
}

before_the_restart() {
    peers
    first_installation
    configure
    first_start
    limits
    pauses
    reloads
    processes_die
    hangs
    faults
    credentials
    say "The machine restarts"
    cp /run/before before
    end=reboot
}

upgrade() {
    say "Upgrade: a running service is restarted, a stopped one stays stopped"
    local pid
    pid=$(property MainPID)
    echo 'EDGE_GER_LOG=debug' >> /etc/default/edge-ger
    install -o Dpkg::Options::=--force-confold ./next.deb
    { is_not MainPID "$pid" && is ActiveState active; } || fail "it was not restarted"
    from_now
    reads stage
    systemctl stop edge-ger
    is Result success || fail "it did not stop cleanly"
    install --reinstall -o Dpkg::Options::=--force-confold ./next.deb
    is ActiveState inactive || fail "the stopped service runs"
    systemctl start edge-ger
}

removal() {
    say "Removal, and purge"
    apt-get remove -y -q -o Dpkg::Use-Pty=0 edge-ger
    ! pgrep -l 'edge-ger|^ger-' || fail "it still runs"
    apt-get purge -y -q -o Dpkg::Use-Pty=0 edge-ger
    # Files of this script.
    rm -rf /etc/systemd/system/edge-ger.service.d /srv/group.mp4
    systemctl daemon-reload
    state > after
    diff before after || fail "something is left, or something is missing"
    systemctl --failed --no-legend
    say "Passed"
}

after_the_restart() {
    say "After the restart of the machine the service runs by itself"
    ./camera.py group.mp4 viewer "another password" &
    listen
    from_now
    within 600 is SubState running
    reads hall
    reads stage
    systemctl is-system-running || true
    upgrade
    removal
}

if [ -e before ]; then after_the_restart; else before_the_restart; fi
