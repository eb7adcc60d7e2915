#!/bin/bash
# Two processes of MPICH on two "hosts": network namespaces joined by a link that tc limits. Needs no root, but Linux with
# user namespaces, veth and tbf, and MPICH with UCX, as of pip install mpich:
#
#     unshare -Urnm benchmarks/limited_link.sh 1gbit python benchmarks/scaling.py work
#
# python benchmarks/scaling.py --link 1gbit does so, and prints the tables.
set -e
if [ "$1" = -x ]; then  # mpiexec takes this script for ssh: -x, the other host, and a command for it
    exec ip netns exec other sh -c "${*:3}"
fi
rate=$1
shift
mount -t tmpfs none /run  # where ip keeps the names of namespaces
mount -t sysfs none /sys  # where UCX looks for devices, those of this namespace
ip netns add other
ip link add link0 type veth peer name link0 netns other
for place in 1 "2 ip netns exec other"; do
    read -r host within <<< "$place"
    $within ip address add "10.9.0.$host/24" dev link0
    $within ip link set lo up
    $within ip link set link0 up
    $within tc qdisc add dev link0 root tbf rate "$rate" burst 128k latency 100ms
done
until [ "$(cat /sys/class/net/link0/operstate; ip netns exec other cat /sys/class/net/link0/operstate)" = $'up\nup' ]; do
    sleep 0.1
done
export UCX_TLS=tcp UCX_NET_DEVICES=link0  # and not the memory that both hosts have
exec mpiexec -launcher ssh -launcher-exec "$0" -iface link0 -hosts 10.9.0.1,10.9.0.2 -ppn 1 -n 2 "$@"
