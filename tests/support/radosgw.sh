#!/usr/bin/env bash
# A Ceph S3 gateway for tests, on 127.0.0.1 and in one folder, without root privileges of its own:
#   radosgw.sh up FOLDER     starts a monitor, an OSD in memory and radosgw; prints lines for `eval`
#   radosgw.sh down FOLDER   ends them by their process ids and removes the folder
# Needs the programs of Debian's packages ceph-mon, ceph-osd, ceph-common and radosgw.
set -euo pipefail

verb=${1:?up or down}
mkdir -p "${2:?a folder}"
folder=$(cd "$2" && pwd)
key=testaccesskey
secret=testsecretkey0123456789

free_ports() {
    python3 - "$1" <<'PY'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for each in held:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in held))
PY
}

wait_for() { # seconds, what, command...
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS > end)); then
            echo "radosgw.sh: $what did not come up; its logs:" >&2
            tail -n 20 "$folder"/log/*.log >&2 || true
            exit 1
        fi
        sleep 0.2
    done
}

write_configuration() {
    cat >"$folder/ceph.conf" <<C
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = $monitors
mon initial members = a
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
public addr = 127.0.0.1
ms bind ipv6 = false
run dir = $folder
log file = $folder/log/\$name.log
admin socket = $folder/\$name.asok
pid file = $folder/\$name.pid
keyring = $folder/keyring
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
[mon.a]
mon data = $folder/mon
public addrv = $monitors
[osd]
osd data = $folder/osd
osd objectstore = memstore
memstore device bytes = 4294967296
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw dns name = localhost
rgw thread pool size = 32
C
}

new_key() { # name, capabilities...
    local name=$1
    shift
    ceph-authtool "$folder/keyring" --gen-key -n "$name" "$@" >/dev/null
}

start_store() {
    ceph-authtool --create-keyring "$folder/keyring" >/dev/null
    new_key mon. --cap mon 'allow *'
    new_key client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
    new_key client.rgw --cap mon 'allow rw' --cap osd 'allow rwx' --cap mgr 'allow rw'
    new_key osd.0 --cap mon 'allow profile osd' --cap osd 'allow *' --cap mgr 'allow profile osd'
    monmaptool --create --fsid "$(sed -n 's/^fsid = //p' "$folder/ceph.conf")" \
        --addv a "${monitors//\/0/}" "$folder/monmap" >/dev/null
    ceph-mon -c "$folder/ceph.conf" -i a --mkfs --monmap "$folder/monmap" --keyring "$folder/keyring"
    ceph-mon -c "$folder/ceph.conf" -i a >/dev/null 2>&1 # daemons must not hold on to the caller's pipe
    wait_for 30 "the monitor" "${ceph[@]}" mon stat

    local uuid
    uuid=$(cat /proc/sys/kernel/random/uuid)
    printf '{"cephx_secret": "%s"}' "$(ceph-authtool "$folder/keyring" -p -n osd.0)" |
        "${ceph[@]}" osd new "$uuid" -i - >/dev/null
    ceph-osd -c "$folder/ceph.conf" -i 0 --mkfs --osd-uuid "$uuid" >/dev/null 2>&1
    ceph-osd -c "$folder/ceph.conf" -i 0 >/dev/null 2>&1
    wait_for 60 "the OSD" bash -c "${ceph[*]} osd stat 2>/dev/null | grep -q '1 up'"
}

up() {
    mkdir -p "$folder"/{mon,osd,log}
    read -r port messenger legacy < <(free_ports 3)
    monitors="[v2:127.0.0.1:$messenger/0,v1:127.0.0.1:$legacy/0]"
    ceph=(ceph -c "$folder/ceph.conf" --connect-timeout 5)
    write_configuration
    start_store
    radosgw -c "$folder/ceph.conf" -n client.rgw >/dev/null 2>&1
    wait_for 60 "the gateway" python3 -c "import socket; socket.create_connection(('127.0.0.1', $port), 1)"
    radosgw-admin -c "$folder/ceph.conf" -n client.rgw user create --uid=test --display-name=test \
        --access-key="$key" --secret-key="$secret" >/dev/null 2>&1
    echo "export IMAGEFLEET_TEST_S3_ENDPOINT=http://127.0.0.1:$port"
    echo "export AWS_ACCESS_KEY_ID=$key AWS_SECRET_ACCESS_KEY=$secret"
}

down() {
    local name pid
    for name in client.rgw osd.0 mon.a; do
        pid=$(cat "$folder/$name.pid" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || continue
        for _ in {1..50}; do
            kill -0 "$pid" 2>/dev/null || continue 2
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$folder"
}

case $verb in
up) up ;;
down) down ;;
*) echo "radosgw.sh: up or down, not $verb" >&2 && exit 2 ;;
esac
