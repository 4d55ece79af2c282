#!/bin/sh
# The init script on a device that has no more than busybox. Runs as root inside the folder that do_install filled, in
# namespaces of its own; yocto/check.sh sees to that.
set -u
export PATH=/usr/bin:/bin
service=/etc/init.d/pvr-agent
settings=/etc/default/pvr-agent
cp "$settings" /settings
failed=0

check() { # what, wanted exit code, command…
    what=$1 wanted=$2
    shift 2
    said=$("$@" 2>&1)
    code=$?
    if [ "$code" = "$wanted" ]; then
        echo "ok: $what"
    else
        echo "FAILED: $what: exit code $code, not $wanted: $said"
        failed=$((failed + 1))
    fi
}
with() { # a line of settings
    cp /settings "$settings"
    echo "$1" >>"$settings"
}
answers() { wget -q -O /dev/null "http://127.0.0.1:$1/cgi-bin/pvr"; }
pid() { cat /run/pvr-agent/pid; }
not() { ! "$@"; }
says() { # a word, command…
    word=$1
    shift
    "$@" 2>&1 | grep -q -- "$word"
}

ifconfig lo 127.0.0.1 up
syslogd -O /messages
for _ in 1 2 3 4 5; do
    [ -S /dev/log ] || sleep 1
done

check "nothing runs: status is 3" 3 $service status
check "it starts" 0 $service start
check "status is 0" 0 $service status
check "it answers" 0 answers 12368
first=$(pid)
check "its pid file has its number" 0 \
    says "^/usr/bin/pvr-agent serve --storage /storage" tr '\0' ' ' <"/proc/$first/cmdline"
check "a second start says so" 0 says "running already" $service start
check "and starts nothing" 0 [ "$(pid)" = "$first" ]
check "what it writes is in the system log" 0 grep -q 'pvr-agent: .*/storage' /messages
check "restart" 0 $service restart
check "is another process" 1 [ "$(pid)" = "$first" ]
check "that answers" 0 answers 12368

kill -KILL "$(pid)"
sleep 1
check "killed: status is 1" 1 $service status
check "it starts after that" 0 $service start
check "stop" 0 $service stop
check "status is 3 again" 3 $service status
check "nothing answers" 0 not answers 12368
check "nothing is left behind" 0 [ -z "$(ls /run/pvr-agent)" ]
check "stop again" 0 $service stop

sleep 1000 &
other=$!
echo "$other" >/run/pvr-agent/pid
check "the pid file of an earlier boot: status is 1" 1 $service status
check "stop leaves the other process alone" 0 $service stop
check "which runs on" 0 kill -0 "$other"
echo "$other" >/run/pvr-agent/pid
check "start takes no notice of it either" 0 $service start
check "which runs on then, too" 0 kill -0 "$other"
kill "$other"

check "stop it" 0 $service stop
with 'ARGS="--port 12399 --log-format json"'
check "arguments from the settings" 0 $service start
check "are obeyed" 0 answers 12399
kill -STOP "$(pid)"
with 'STOP_SECONDS=2'
check "one that hangs is stopped all the same" 0 says "killing it" $service stop
check "and is gone" 3 $service status

with 'PVR_AGENT_PORT=12398'
check "variables from the settings" 0 $service start
check "reach it" 0 answers 12398
check "stop that" 0 $service stop

with 'STORAGE=/nonexistent'
check "no storage: start fails" 1 $service start
check "and says where to look" 0 says "system log" $service start
check "status is 3 after that" 3 $service status
cp /settings "$settings"
pvr-agent serve --storage /storage >/dev/null 2>&1 &
holder=$!
sleep 1
check "a port that is taken: start fails" 1 $service start
kill "$holder"
wait "$holder"

rm /bin/logger
check "it starts where there is no logger" 0 $service start
check "and answers" 0 answers 12368
check "and stops" 0 $service stop

check "no such command: 2" 2 $service reload
check "no command: 2" 2 $service
[ "$failed" = 0 ]
