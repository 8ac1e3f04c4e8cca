"""A SLURM cluster of one node on the loopback device: real daemons, character devices as GPUs.

It needs root and /etc/slurm for itself: the executor's jobs drop SLURM_CONF, so the configuration
must lie where SLURM looks by itself.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ETC = Path("/etc/slurm")
CONFIGS = ("slurm.conf", "gres.conf")
PREFIX = "bdb-slurm-"

# CPUs and memory are promises that nobody checks, so that the node is never what a job waits for.
SLURM_CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
DefMemPerCPU=256
MinJobAge=300
KillWait=1
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:fake:{gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=12:00:00 State=UP
"""
GRES_CONF = "NodeName={host} Name=gpu Type=fake File={folder}/nvidia[0-{last}]\n"


def why_not() -> str | None:
    """Why no cluster can be started here."""
    if os.geteuid() != 0:
        return "needs root, to run SLURM's daemons"
    missing = [name for name in ("munged", "slurmctld", "slurmd") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install slurm-wlm munge"
    for name in CONFIGS:
        path = ETC / name
        if os.path.lexists(path) and not _is_ours(path):
            return f"{path} belongs to a cluster that is not ours"
    return None


def _is_ours(path: Path) -> bool:
    return path.is_symlink() and path.readlink().parent.name.startswith(PREFIX)


@contextmanager
def cluster(gpus: int = 2) -> Iterator[None]:
    """Start the daemons, wait until the node is idle, and leave nothing behind."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX)))
        _configure(folder, gpus)
        stack.callback(_unlink_configs)
        _link_configs(folder)
        for command in _daemons(folder):
            stack.enter_context(_running(command, folder))
        stack.callback(_cancel_all_jobs)
        _wait_until_idle(folder)
        yield


def _configure(folder: Path, gpus: int) -> None:
    for gpu in range(gpus):
        # The numbers of /dev/null. SLURM refuses a plain file.
        os.mknod(folder / f"nvidia{gpu}", 0o020666, os.makedev(1, 3))
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    controller, node = _free_ports()
    facts = {
        "folder": folder,
        "host": socket.gethostname().split(".")[0],
        "gpus": gpus,
        "last": gpus - 1,
        "controller": controller,
        "node": node,
    }
    (folder / "slurm.conf").write_text(SLURM_CONF.format(**facts))
    (folder / "gres.conf").write_text(GRES_CONF.format(**facts))


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def _link_configs(folder: Path) -> None:
    ETC.mkdir(exist_ok=True)
    _unlink_configs()
    for name in CONFIGS:
        (ETC / name).symlink_to(folder / name)


def _unlink_configs() -> None:
    for name in CONFIGS:
        if _is_ours(ETC / name):
            (ETC / name).unlink()


def _daemons(folder: Path) -> list[list[str]]:
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
    munge = [f"--{option}={folder}/munge.{suffix}" for option, suffix in files.items()]
    return [
        ["munged", "--foreground", "--force", f"--seed-file={folder}/munge.seed", *munge],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D", "-c"],
    ]


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[None]:
    """A daemon in the foreground, which dies with us even if we are killed."""
    log = folder / f"{command[0]}.out"
    with log.open("wb") as out:
        died = ["setpriv", "--pdeathsig", "TERM"]
        process = subprocess.Popen([*died, *command], stdout=out, stderr=out, cwd=folder)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_idle(folder: Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ask("sinfo", "-h", "-o", "%T", check=False) == ["idle"]:
            return
        time.sleep(0.1)
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in folder.glob("*.out"))
    raise TimeoutError(f"the node is not idle after {seconds} s:\n{logs}")


def _cancel_all_jobs() -> None:
    ask("scancel", "--user", "root", check=False)
    end = time.monotonic() + 10
    while ask("squeue", "-h", check=False) and time.monotonic() < end:
        time.sleep(0.1)


def ask(*command: str, check: bool = True) -> list[str]:
    """What a SLURM command prints, line by line."""
    done = subprocess.run(command, capture_output=True, text=True, check=check, timeout=30)
    return done.stdout.splitlines()
