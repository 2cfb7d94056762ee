"""A PostgreSQL server of the test's own: in a folder, on a Unix socket and loopback, as a user who is not root."""

import os
import shutil
import subprocess
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest
from ports_bench import free_port

PROGRAMS = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
needs_postgres = pytest.mark.skipif(
    PROGRAMS is None and not os.environ.get("EDGEVEIL_NO_SKIP"), reason="apt-get install postgresql"
)
USER = "edgeveil"


class Postgres:
    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.data = folder / "data"
        self._as = []
        if os.geteuid() == 0:  # as whom it refuses to run
            shutil.chown(folder, "nobody")
            self._as = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        self._run("initdb", "-D", self.data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(
                f"port = {self.port}\nunix_socket_directories = '{folder}'\nlisten_addresses = '127.0.0.1'\n"
                "max_connections = 40\nshared_buffers = 16MB\n"
            )

    def _run(self, program, *arguments, check=True):
        command = [*self._as, PROGRAMS / program, *arguments]
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.folder, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self):
        self._run("pg_ctl", "-D", self.data, "-w", "-l", self.folder / "log", "start")

    def stop(self, mode="fast"):
        self._run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop", check=False)

    def sql(self, text, database="postgres"):
        command = [PROGRAMS / "psql", "-h", self.folder, "-p", self.port, "-U", USER, "-d", database, "-Atqc", text]  # fmt: skip
        found = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        assert found.returncode == 0, found.stderr
        return found.stdout.strip()

    def serve_tls(self, chain, key):
        for source, name, mode in ((chain, "server.crt", 0o644), (key, "server.key", 0o600)):
            shutil.copy(source, self.data / name)
            (self.data / name).chmod(mode)
            if os.geteuid() == 0:
                shutil.chown(self.data / name, "nobody", "nogroup")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("ssl = on\n")
        self.stop()
        self.start()

    def ask_for_passwords(self):
        (self.data / "pg_hba.conf").write_text(
            "hostssl all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n"
        )
        self.sql("SELECT pg_reload_conf()")

    def new_database(self):
        name = f"d{uuid.uuid4().hex[:12]}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def url(self, database, user=USER):
        """By its Unix socket."""
        return f"postgresql+psycopg://{user}@:{self.port}/{database}?host={self.folder}"


@contextmanager
def running():
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's name must be short
    server = Postgres(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)


def configure(home, url, more=""):
    """What an operator writes into coordinator.toml; appended to what is there."""
    path = home / "coordinator.toml"
    before = path.read_text() if path.exists() else ""
    path.write_text(f'{before}\n[store]\nurl = "{url}"\n{more}')
