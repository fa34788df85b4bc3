#!/bin/sh
# Records what ipvsadm and the kernel say to each other, on a kernel with IPVS. Run it as root in a
# throw-away virtual machine, then annotate.py on what it leaves in /out:
#
#   tests/vm/run.sh CACHE --add tests/recorded/record.sh:/record.sh --out DIR -- sh /record.sh
#   tests/recorded/annotate.py DIR tests/recorded
set -u

# record NAME COMMAND...: one capture for each command, all of netlink in this namespace.
record() {
    name=$1
    shift
    tcpdump -Z root -i nlmon0 -U -w "/out/$name.pcap" 2>/run/tcpdump &
    capture=$!
    while ! grep -q listening /run/tcpdump; do
        kill -0 "$capture" 2>/dev/null || { cat /run/tcpdump; exit 1; }
        usleep 10000
    done
    timeout 10 "$@" >"/out/$name.output" 2>&1
    printf '%s\n%s\n' "$*" "$?" >"/out/$name.command"
    # The capture is complete when a packet that came later is in it: this one asks for links.
    before=$(wc -c <"/out/$name.pcap")
    ip link show lo >/dev/null
    while [ "$(wc -c <"/out/$name.pcap")" = "$before" ]; do usleep 10000; done
    kill -INT "$capture"
    wait "$capture"
    echo "$name: $(tail -n 1 "/out/$name.command")"
}

ip link add nlmon0 type nlmon
ip link set nlmon0 up
ip link add dummy0 type dummy
ip link set dummy0 up
ip address add 10.0.3.3/24 dev dummy0
ip address add 10.0.3.4/24 dev dummy0
ip route add local 10.0.3.2/32 dev lo src 10.0.3.3 table local
nft add table ip t
nft add chain ip t out '{ type route hook output priority mangle; }'
nft add rule ip t out ip daddr 10.0.3.2 meta mark set 0x10c
mkdir -p /srv && echo hello >/srv/index.html
httpd -p 80 -h /srv
# Loads the module, so that the first recorded command is like the others.
ipvsadm -Ln >/dev/null

record info-and-list-of-none ipvsadm -Ln
record add-fwmark ipvsadm -A -f 268 -s rr
record add-fwmark-again ipvsadm -A -f 268 -s rr
record add-fwmark-v6-persistent ipvsadm -A -f 268 -6 -s wlc -p 360 -M 64
record add-tcp ipvsadm -A -t 10.0.3.2:80 -s wrr
record add-udp-one-packet ipvsadm -A -u 10.0.3.2:53 -s rr -o
record add-sctp-v6 ipvsadm -A --sctp-service '[fd00:3::2]:9' -s sh -b sh-fallback,sh-port
record add-persistent-engine ipvsadm -A -u 10.0.3.2:5060 -s rr -p 60 -M 255.255.255.0 --pe sip
record add-unknown-scheduler ipvsadm -A -f 99 -s nosuch
record edit-fwmark ipvsadm -E -f 268 -s wrr
record edit-missing ipvsadm -E -f 99 -s rr
record add-real-masquerade ipvsadm -a -f 268 -r 10.0.3.3 -m
record add-real-again ipvsadm -a -f 268 -r 10.0.3.3 -m
record add-real-weight-thresholds ipvsadm -a -f 268 -r 10.0.3.4 -m -w 3 -x 100 -y 50
record add-real-v6 ipvsadm -a -f 268 -6 -r '[fd00:3::3]:0' -m
record add-real-route ipvsadm -a -t 10.0.3.2:80 -r 10.0.3.5:80 -g -w 0
record add-real-tunnel ipvsadm -a -t 10.0.3.2:80 -r 10.0.3.6:80 -i
record add-real-tunnel-gue ipvsadm -a -t 10.0.3.2:80 -r 10.0.3.7:80 -i --tun-type gue --tun-port 6080 --tun-csum
record edit-real ipvsadm -e -f 268 -r 10.0.3.4 -m -w 7
record edit-real-missing ipvsadm -e -f 268 -r 10.0.3.9 -m -w 7
record delete-real-missing ipvsadm -d -f 268 -r 10.0.3.9
for _ in 1 2 3 4 5; do curl -s -m 5 http://10.0.3.2:8080/ http://10.0.3.2/ >/dev/null; done
record list ipvsadm -Ln
record list-statistics ipvsadm -Ln --stats --exact
record list-one ipvsadm -Ln -f 268
record list-one-missing ipvsadm -Ln -f 99
record set-timeouts ipvsadm --set 800 100 200
record list-timeouts ipvsadm -L --timeout
record zero-one ipvsadm -Z -f 268
record zero-all ipvsadm -Z
record delete-real ipvsadm -d -t 10.0.3.2:80 -r 10.0.3.5:80
record delete-real-v6 ipvsadm -d -f 268 -6 -r '[fd00:3::3]:0'
record delete-fwmark ipvsadm -D -f 268
record delete-sctp-v6 ipvsadm -D --sctp-service '[fd00:3::2]:9'
record delete-missing ipvsadm -D -f 99
record flush ipvsadm -C
