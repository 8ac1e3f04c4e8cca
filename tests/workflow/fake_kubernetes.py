"""What of a Kubernetes server the executor talks to; its pods are processes of this machine.

It shows what Snakemake sends and what a pod's command does. Images, volumes and GPUs are not real:
a volume is a folder that has the same path for everybody, and a pod's work folder a temporary one.
"""

import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KUBE_CONFIG = """\
apiVersion: v1
kind: Config
current-context: fake
contexts: [{{name: fake, context: {{cluster: fake, user: fake}}}}]
clusters: [{{name: fake, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: fake, user: {{}}}}]
"""


class Server(ThreadingHTTPServer):
    """Keeps the jobs that were submitted, and what became of them."""

    daemon_threads = True

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.environment = environment
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, subprocess.Popen[bytes]] = {}
        self.kube_config = folder / "kube.config"
        self.kube_config.write_text(KUBE_CONFIG.format(port=self.server_port))

    def create(self, job: dict[str, Any]) -> None:
        """Run the pod's command where the pod would run it."""
        name = job["metadata"]["name"]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["workingDir"] == "/workdir"
        self.jobs[name] = job
        with (self.folder / f"{name}.log").open("wb") as log:
            self.pods[name] = subprocess.Popen(
                [*container["command"], *container["args"]],
                cwd=tempfile.mkdtemp(dir=self.folder),
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def status(self, name: str) -> dict[str, int]:
        code = self.pods[name].poll()
        return {} if code is None else {"succeeded" if code == 0 else "failed": 1}

    def containers(self) -> list[dict[str, Any]]:
        """Of every job that was submitted."""
        specs = [job["spec"]["template"]["spec"] for job in self.jobs.values()]
        return [spec["containers"][0] for spec in specs]

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))


class Handler(BaseHTTPRequestHandler):
    """Just the requests that the executor makes."""

    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/jobs"):
            self.server.create(body)
        self.answer(body)

    def do_GET(self) -> None:
        *_, kind, name, _ = ["", "", *self.path.split("?")[0].split("/")]
        if kind == "jobs":
            self.answer({"metadata": {"name": name}, "status": self.server.status(name)})
        else:
            self.answer({"items": []})

    def do_DELETE(self) -> None:
        self.answer({"status": "Success"})

    def answer(self, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def kubernetes(folder: Path, environment: dict[str, str]) -> Iterator[Server]:
    """A server, until the end of the block."""
    with Server(folder, environment) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            for pod in server.pods.values():
                pod.kill()
                pod.wait()
            server.shutdown()
