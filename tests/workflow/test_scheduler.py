"""Snakemake's main process does not do more for every job that has ended."""

import subprocess
import sys
from pathlib import Path

RULES = Path(__file__).parents[2] / "workflow" / "rules"
SNAKEFILE = """
import threading


rule all:
    input:
        [f"{number}.txt" for number in range(12)],


rule one:
    output:
        "{number}.txt",
    shell:
        "touch {output}"


onsuccess:
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    print("timers left:", [timer.interval for timer in timers if timer.interval == 1])
"""


def timers(folder: Path, *includes: str) -> str:
    text = "".join(f'include: "{RULES / name}"\n' for name in includes) + SNAKEFILE
    (folder / "Snakefile").write_text(text)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--scheduler", "greedy"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (line,) = (line for line in ran.stdout.splitlines() if line.startswith("timers left:"))
    return line.removeprefix("timers left: ")


def test_no_timer_is_left_of_the_jobs_that_ended(tmp_path: Path) -> None:
    assert timers(tmp_path, "scheduler.smk") == "[]"


def test_snakemake_by_itself_leaves_one_of_every_job(tmp_path: Path) -> None:
    """Once this fails, workflow/rules/scheduler.smk may go."""
    assert timers(tmp_path).count("1") > 3
