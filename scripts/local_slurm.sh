#!/usr/bin/env bash
# A Slurm controller and one node on this machine's loopback, from Debian's packages (apt-get install slurm-wlm munge),
# with everything they write in one folder. As root:
#
#     scripts/local_slurm.sh start FOLDER && export SLURM_CONF=FOLDER/slurm.conf
#     tda run method=one_nn,coral hydra/launcher=submitit_slurm
#     scripts/local_slurm.sh stop FOLDER
set -euo pipefail

usage() { echo "usage: $0 start|stop FOLDER" >&2; exit 2; }
[ $# -eq 2 ] || usage
folder=$2

start() {
    for program in munged slurmctld slurmd; do
        command -v "$program" > /dev/null || { echo "$program is missing: apt-get install slurm-wlm munge" >&2; exit 2; }
    done
    mkdir -p "$folder/state" "$folder/spool"
    folder=$(cd "$folder" && pwd)
    (umask 077 && head -c 1024 /dev/urandom > "$folder/munge.key")
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    read -r controller node < <(free_ports)
    cat > "$folder/slurm.conf" << END
ClusterName=loopback
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$node
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=${CPUS:-2} State=UNKNOWN
PartitionName=local Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    export SLURM_CONF=$folder/slurm.conf
    slurmctld -f "$SLURM_CONF"
    slurmd -f "$SLURM_CONF"
    for _ in $(seq 60); do
        sinfo --noheader --format=%T 2> /dev/null | grep -q '^idle' && exit 0
        sleep 0.5
    done
    tail -n 5 "$folder"/*.log >&2
    stop
    echo "the node did not come up within 30 seconds" >&2
    exit 1
}

stop() {
    export SLURM_CONF=$folder/slurm.conf
    for _ in $(seq 50); do  # a job whose node is gone would be left behind
        [ -n "$(squeue --noheader 2> /dev/null)" ] || break
        scancel --user="$(id -un)" 2> /dev/null || true
        sleep 0.2
    done
    for daemon in slurmd slurmctld munged; do
        [ -s "$folder/$daemon.pid" ] || continue
        kill "$(cat "$folder/$daemon.pid")" 2> /dev/null || true
        for _ in $(seq 50); do [ -e "$folder/$daemon.pid" ] || break; sleep 0.1; done
    done
}

free_ports() {
    python3 - << 'END'
from socket import socket
sockets = [socket(), socket()]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))
END
}

case $1 in start) start ;; stop) stop ;; *) usage ;; esac
