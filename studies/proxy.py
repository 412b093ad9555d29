"""Optuna's gRPC proxy: many workers by one process's connections, and a lock that they share."""

from __future__ import annotations

import contextlib
import queue
import threading
import warnings
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, GrpcStorageProxy, get_storage

from ado_nas.errors import ConfigError, StudyError
from studies.patience import patient, through_outages

if TYPE_CHECKING:
    from studies.storage import Hold, Store

SCHEME = "grpc://"
HOST, PORT = "127.0.0.1", 13000
CONNECT_SECONDS = 5
THREADS = 512  # made as they are needed; one for each worker that holds or waits for a lock
_SERVICE, _METHOD = "ado.Lock", "Hold"
# A machine that vanishes says no goodbye: both ends ask while a lock is held or waited for.
_KEEPALIVE = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 15_000),
    ("grpc.http2.ping_timeout_ms", 15_000),
    ("grpc.http2.max_pings_without_data", 0),
]
_PINGED = [("grpc.http2.min_ping_interval_without_data_ms", 10_000)]


def address(url: str) -> tuple[str, int]:
    """Host and port of ``grpc://HOST:PORT``.

    Raises:
        StudyError: it is something else.
    """
    host, _, port = url.removeprefix(SCHEME).rstrip("/").rpartition(":")
    if not host or not port.isdecimal():
        raise StudyError(f"storage {url!r}: give grpc://HOST:PORT, such as grpc://{HOST}:{PORT}")
    return host, int(port)


def open_proxy(url: str) -> BaseStorage:
    """A storage that a proxy's server keeps.

    Args:
        url: ``grpc://HOST:PORT``.

    Returns:
        The storage; its calls outlast a server that is started again.

    Raises:
        ConfigError: the extra `grpc` is not installed.
        StudyError: nobody answers there.
    """
    host, port = address(url)
    _require_grpc()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = patient(GrpcStorageProxy)(host=host, port=port)
    try:
        storage.wait_server_ready(timeout=CONNECT_SECONDS)
    except ConnectionError as error:
        raise StudyError(
            f"storage {url} does not answer; start it with: python cli.py proxy --storage URL"
        ) from error
    return storage


@contextlib.contextmanager
def proxy_lock(url: str, study: str, hold: Hold) -> Iterator[None]:
    """The lock that the server holds for us while a stream is open; our death closes it."""
    grpc = _require_grpc()
    host, port = address(url)
    with grpc.insecure_channel(f"{host}:{port}", options=_KEEPALIVE) as channel:

        def acquire() -> Any:
            asked: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            stream = channel.stream_stream(f"/{_SERVICE}/{_METHOD}")(iter(asked.get, None))
            asked.put(study.encode())
            next(stream)
            return stream, asked

        stream, asked = through_outages(acquire)
        try:
            yield
        finally:
            hold.lost = not stream.is_active()
            asked.put(None)
            stream.cancel()


def serve(store: Store, host: str = HOST, port: int = PORT) -> Any:
    """Start a proxy's server in threads of this process.

    Args:
        store: a database; a journal file cannot be proxied.
        host: to listen on; nobody is asked who they are, so let only your own network reach it.
        port: likewise; 0 takes a free one.

    Returns:
        The running server, with its ``port``; ``stop(seconds)`` ends it.

    Raises:
        ConfigError: the storage or the port cannot be used, or the extra is not installed.
    """
    grpc = _require_grpc()
    if store.url.startswith((SCHEME, "journal:")):
        raise ConfigError(f"storage {store.url}: a proxy wants a database; give its URL")
    from optuna.storages._grpc import servicer
    from optuna.storages._grpc.auto_generated import api_pb2_grpc

    server = grpc.server(ThreadPoolExecutor(THREADS), options=[*_KEEPALIVE, *_PINGED])
    service = servicer.OptunaStorageProxyService(get_storage(store.storage))
    register: Any = api_pb2_grpc.add_StorageServiceServicer_to_server
    register(service, server)
    handler = grpc.stream_stream_rpc_method_handler(_holder(store))
    locks = grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler})
    server.add_generic_rpc_handlers((locks,))
    try:
        server.port = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}; give another --port, or this machine's --host"
        ) from error
    server.start()
    return server


def _holder(store: Store) -> Any:
    """The service that holds a study's lock for as long as its caller keeps the stream open."""
    turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def hold(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        study = next(requests).decode()
        gone = threading.Event()
        context.add_callback(gone.set)
        # One at a time asks the database: who waits there takes a connection of its own.
        with turns[study], store.lock(study):
            if context.is_active():
                yield b"held"
                gone.wait()

    return hold


def _require_grpc() -> Any:
    try:
        import grpc
    except ImportError as error:
        raise ConfigError(
            "a storage by gRPC needs grpcio; install the extra: uv sync --extra grpc"
        ) from error
    return grpc
