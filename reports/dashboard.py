"""optuna-dashboard on a workspace, in a process of its own, with artifacts, notes and figures.

``python -m reports.dashboard URL --artifacts DIR`` serves; `run` starts that, waits until it
answers and stops it on Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import IO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ado_nas.errors import ConfigError, StudyError

HOST, PORT = "127.0.0.1", 8080
ANSWER_SECONDS = 60
EVERYWHERE = ("0.0.0.0", "::", "")


def dashboard_command(
    storage_url: str, artifacts: Path, host: str = HOST, port: int = PORT
) -> list[str]:
    """The command that serves a dashboard.

    Args:
        storage_url: an Optuna storage, such as ``sqlite:///ado-runs/studies.db``.
        artifacts: the workspace's folder of artifacts; studies that have one of their own say so.
        host: the address to listen on; nobody else reaches the default.
        port: the TCP port.

    Returns:
        An argument vector for a subprocess.
    """
    words = [sys.executable, "-m", "reports.dashboard", storage_url, "--artifacts", str(artifacts)]
    return [*words, "--host", host, "--port", str(port)]


def run(
    storage_url: str,
    artifacts: Path,
    host: str = HOST,
    port: int = PORT,
    announce: Callable[[str], None] = print,
) -> int:
    """Serve a dashboard until Ctrl-C, announcing its URL once it answers.

    Args:
        storage_url: an Optuna storage that exists.
        artifacts: the folder of the file-system artifact store; made where it is missing.
        host: the address to listen on.
        port: the TCP port; 0 takes a free one.
        announce: called with the URL as soon as a browser can open it.

    Returns:
        0 after Ctrl-C, else the server's own exit status.

    Raises:
        ConfigError: the address cannot be listened on.
        StudyError: the storage cannot be opened, or the server does not answer in time.
    """
    _check_exists(storage_url)
    port = free_port(host, port)
    artifacts.mkdir(parents=True, exist_ok=True)
    process = _start([*dashboard_command(storage_url, artifacts, host, port), "--until-eof"])
    here = HOST if host in EVERYWHERE else host
    try:
        _await_answer(process, here, port)
        announce(f"http://{f'[{here}]' if ':' in here else here}:{port}/dashboard/")
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(process)


def free_port(host: str, port: int) -> int:
    """A port that can be listened on now.

    Args:
        host: the address.
        port: the wish; 0 leaves the choice to the system.

    Returns:
        The port.

    Raises:
        ConfigError: something else listens there, or the address is not this machine's.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE and port < 65535
            hint = f"try --port {port + 1}" if taken else "give another --host or --port"
            raise ConfigError(
                f"cannot listen on {host} port {port}: {error.strerror or error}; {hint}"
            ) from error
        found: int = probe.getsockname()[1]
        return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a dashboard in this process until it is interrupted.

    Args:
        arguments: the command line; by default this process's own.
    """
    parser = argparse.ArgumentParser(prog="python -m reports.dashboard", description=__doc__)
    parser.add_argument("storage")
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    options = parser.parse_args(arguments)
    if options.until_eof:
        threading.Thread(target=_exit_at_eof, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        _serve(options.storage, options.artifacts, options.host, options.port)


class _Server(ThreadingMixIn, WSGIServer):
    """One thread a request: the page asks for many things at once."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without the reverse name look-up, which takes seconds on some networks."""
        host, port = self.server_address[:2]
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    """Says nothing about requests that went well."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Leave the terminal to the URL."""


def _serve(storage_url: str, artifacts: Path, host: str, port: int) -> None:
    from reports.annotation import Annotator
    from studies.storage import open_store

    try:
        store = open_store(storage_url)
    except StudyError as error:
        sys.exit(str(error))
    # Imported after the storage has answered: it takes seconds.
    from optuna_dashboard import wsgi

    from studies.shelves import Shelves, unseen

    if said := unseen(store.storage):
        print(said, file=sys.stderr, flush=True)
    application = wsgi(store.storage, artifact_store=Shelves(artifacts, store.storage))
    application.install(Annotator(store))
    kind = _Server6 if ":" in host else _Server
    with make_server(host, port, application, server_class=kind, handler_class=_Handler) as server:
        server.serve_forever()


def _check_exists(storage_url: str) -> None:
    """Refuse a file that is not there: opening it would make an empty one."""
    from studies.storage import stored_file  # Optuna takes a second to import

    file = stored_file(storage_url)
    if file is not None and not file.is_file():
        raise StudyError(f"no studies at {file}; run a search first, or give its --workspace")


def _exit_at_eof() -> None:
    """End with the parent, however that ended: its end of the pipe closes with it."""
    sys.stdin.read()
    os._exit(0)


def _start(command: list[str]) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


def _await_answer(process: subprocess.Popen[str], host: str, port: int) -> None:
    end = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            said = (process.stderr.read() if process.stderr else "").strip().splitlines()
            raise StudyError(
                said[-1] if said else f"the dashboard ended with status {process.returncode}"
            )
        if _answers(host, port):
            threading.Thread(target=_relay, args=(process.stderr,), daemon=True).start()
            return
        time.sleep(0.1)
    raise StudyError(
        f"the dashboard did not answer on {host} port {port} within {ANSWER_SECONDS} s; try again"
    )


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/api/studies")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _relay(stream: IO[str] | None) -> None:
    """Pass on what the server complains about, so that its pipe never fills."""
    for line in stream or ():
        sys.stderr.write(line)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stderr):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()


if __name__ == "__main__":
    main()
