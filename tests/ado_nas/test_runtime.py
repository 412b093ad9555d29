from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from ado_nas import runtime

linux_x86 = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64" or runtime.has_cuda(),
    reason="the BLAS is replaced on Linux CPUs alone",
)

MATMUL = """
import json, time, ado_nas
from ado_nas import runtime
import mlx.core as mx
a = mx.random.normal((1024, 1024), key=mx.random.key(1))
b = mx.random.normal((1024, 1024), key=mx.random.key(2))
mx.eval(a, b, a[:8] @ b)
seconds = []
for _ in range(3 if runtime.info()["mode"] == "stock" else 30):
    begin = time.perf_counter(); c = a @ b; mx.eval(c)
    seconds.append(time.perf_counter() - begin)
print(json.dumps({"seconds": min(seconds), "corner": c[:4, :4].tolist(), **runtime.info()}))
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {k: v for k, v in os.environ.items() if k not in inherited()} | environment
    return subprocess.run(
        [sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=True
    )


def inherited() -> set[str]:
    """What `start` left in this process's environment."""
    threads = {"KMP_BLOCKTIME", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
    return {"MLX_DISABLE_COMPILE", runtime.WIDTH, *threads}


def reported(code: str, **environment: str) -> Any:
    return json.loads(python(code, **environment).stdout)


@linux_x86
def test_matmul_is_ten_times_as_fast_as_stock_after_start() -> None:
    stock = reported(MATMUL, ADO_RUNTIME="stock")
    ours = reported(MATMUL)
    assert (stock["mode"], stock["blas"]) == ("stock", "bundled")
    assert ours["blas"] in ("mkl", "openblas")
    assert stock["seconds"] > 10 * ours["seconds"]
    np.testing.assert_allclose(stock["corner"], ours["corner"], atol=1e-3)


def test_importing_the_package_imports_no_mlx() -> None:
    code = "import sys, json, ado_nas.specs, ado_nas.measure.lock; print(json.dumps('mlx' in "
    assert reported(code + "{m.split('.')[0] for m in sys.modules}))") is False


def test_start_changes_nothing_when_called_again() -> None:
    before = runtime.info()
    runtime.start()
    assert runtime.info() == before


def test_stock_runtime_has_one_stream_and_leaves_the_environment() -> None:
    code = """
import os, json, ado_nas
from ado_nas import runtime
print(json.dumps([len(runtime.batch_streams()), runtime.threads(), "KMP_BLOCKTIME" in os.environ,
                  "MLX_DISABLE_COMPILE" in os.environ, runtime.set_threads(3)]))
"""
    assert reported(code, ADO_RUNTIME="stock") == [1, 1, False, False, 1]


def test_other_blas_users_share_the_process_when_runtime_has_started() -> None:
    torch = importlib.util.find_spec("torch") is not None
    code = f"""
import ado_nas
import mlx.core as mx
a = mx.ones((256, 256)); mx.eval(a @ a)
from sklearn.cluster import KMeans
import numpy as np
KMeans(2, n_init=1).fit(np.random.default_rng(0).random((200, 8)))
if {torch}:
    import torch
    assert float((torch.ones(256, 256) @ torch.ones(256, 256))[0, 0]) == 256
assert (a @ a)[0, 0].item() == 256
"""
    done = python(code)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.skipif(runtime.machine_cores() < 2, reason="needs two cores")
def test_cores_are_bounded_and_lifted_when_a_worker_has_a_share() -> None:
    code = """
import json, ado_nas
from ado_nas import runtime
bound = [runtime.cores(), len(runtime.batch_streams()), runtime.threads()]
with runtime.all_cores():
    lifted = [runtime.cores(), runtime.threads()]
print(json.dumps([bound, lifted, runtime.threads(), runtime.info()["blas"]]))
"""
    bound, lifted, after, blas = reported(code, ADO_CORES="1")
    assert bound == [1, 1, 1]
    assert lifted[0] == runtime.machine_cores()
    assert lifted[1] > 1 or blas in ("bundled", "accelerate")
    assert after == 1


@pytest.mark.skipif(sys.platform != "linux" or runtime.has_cuda(), reason="of the Linux CPU")
@pytest.mark.skipif(runtime.machine_cores() < 2, reason="needs two cores")
def test_graphs_are_walked_wide_for_two_streams_alone() -> None:
    code = f"import json, os, ado_nas; print(json.dumps(os.environ.get({runtime.WIDTH!r})))"
    wide = reported(code)
    assert int(wide) > 200
    one_core = {"ADO_CORES": "1"}
    assert reported(code, **one_core) is None
    assert reported(code, ADO_STREAMS="1") is None
    assert reported(code, **one_core, **{runtime.WIDTH: wide}) is None  # of its parent
    assert reported(code, **one_core, **{runtime.WIDTH: "77"}) == "77"


@pytest.mark.skipif(runtime.machine_cores() < 2, reason="needs two cores")
def test_batches_stay_whole_with_one_stream_but_for_who_times() -> None:
    code = """
import json, ado_nas
from ado_nas import runtime
bound = [len(runtime.batch_streams()), runtime.cores()]
with runtime.all_cores():
    lifted = len(runtime.batch_streams())
print(json.dumps([bound, lifted]))
"""
    free = reported(code)
    assert reported(code, ADO_STREAMS="1") == [[1, free[0][1]], free[1]]


def test_blas_threads_are_restored_when_the_block_ends() -> None:
    # In a process of its own: another library's BLAS, of another test, may answer in ours.
    code = """
import contextlib, json, ado_nas
from ado_nas import runtime
before = runtime.threads()
with contextlib.suppress(RuntimeError), runtime.blas_threads(1) as old:
    inside = runtime.threads()
    raise RuntimeError
print(json.dumps([before, old, inside, runtime.threads()]))
"""
    before, old, inside, after = reported(code)
    assert (old, inside, after) == (before, 1, before)


def test_batch_streams_are_the_same_ones_in_a_thread_and_compute_alike() -> None:
    streams = runtime.batch_streams()
    assert streams == runtime.batch_streams()
    x = mx.arange(64.0).reshape(8, 8)
    for stream in streams:
        with mx.stream(stream):
            assert mx.array_equal(x @ x.T, mx.array(np.array(x) @ np.array(x).T))


def test_batch_streams_work_in_another_thread() -> None:
    results: list[float] = []

    def work() -> None:
        with mx.stream(runtime.batch_streams()[-1]):
            results.append(mx.sum(mx.ones((4, 4))).item())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [16.0]


def test_warning_names_what_to_install_when_no_blas_is_found(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runtime, "_state", runtime._State())
    monkeypatch.setattr(runtime, "_candidates", lambda: iter(()))
    monkeypatch.setattr(runtime, "has_cuda", lambda: False)
    monkeypatch.setattr(runtime.sys, "platform", "linux")
    monkeypatch.delitem(sys.modules, "mlx.core")
    with caplog.at_level(logging.WARNING):
        runtime.start()
        runtime.start()
    assert [r.getMessage() for r in caplog.records] == [
        f"no fast BLAS was found, so MLX runs many times slower here; {runtime.advice()}"
    ]
    assert runtime.info()["blas"] == "bundled"
    assert runtime.threads() == 1


def test_warning_says_import_first_when_mlx_came_before(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runtime, "_state", runtime._State())
    monkeypatch.setattr(runtime.sys, "platform", "linux")
    with caplog.at_level(logging.WARNING):
        runtime.start()
    assert "import ado_nas first" in caplog.text
    assert runtime.info()["imported_late"] is True


def test_unloadable_library_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_state", runtime._State())
    monkeypatch.setattr(runtime, "_candidates", lambda: iter([("mkl", "/none/libmkl_rt.so.3")]))
    runtime._load_blas()
    assert runtime.info()["blas"] == "bundled"


def test_aarch64_looks_for_openblas_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"openblas": "libopenblas.so.0"}
    monkeypatch.setattr(runtime.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr("ctypes.util.find_library", found.get)
    assert list(runtime._candidates()) == [("openblas", "libopenblas.so.0")]
    assert "libopenblas" in runtime.advice()


def test_metal_limits_change_nothing_without_metal() -> None:
    if mx.metal.is_available():
        pytest.skip("there is Metal")
    with runtime.metal_limits() as limits:
        assert limits == {}


@pytest.mark.metal
@pytest.mark.skipif(not mx.metal.is_available(), reason="needs Metal")
def test_metal_limits_are_restored_when_the_block_ends() -> None:
    with runtime.metal_limits() as limits:
        held = mx.set_cache_limit(limits["cache"])
        assert held == limits["cache"]
    after = mx.set_cache_limit(limits["cache"])
    mx.set_cache_limit(after)
    assert after != limits["cache"]


def test_metal_limits_of_a_faked_mac_are_set_and_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = {"memory": 1, "cache": 2, "wired": 3}

    def setter(name: str) -> Callable[[int], int]:
        def change(size: int) -> int:
            before, now[name] = now[name], size
            return before

        return change

    facts = {"max_recommended_working_set_size": 12_000, "memory_size": 16_000}
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "device_info", lambda: facts)
    for name in now:
        monkeypatch.setattr(mx, f"set_{name}_limit", setter(name))
    with pytest.raises(KeyError), runtime.metal_limits():
        assert now == {"memory": 12_000, "cache": 2_000, "wired": 6_000}
        with runtime.metal_limits(2_000) as inner:
            assert inner == now == {"memory": 2_000, "cache": 1_000, "wired": 2_000}
        assert now["memory"] == 12_000
        raise KeyError
    assert now == {"memory": 1, "cache": 2, "wired": 3}


def test_metal_without_wired_memory_sets_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(size: int) -> int:
        raise ValueError("[metal::set_wired_limit] needs macOS 15")

    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "device_info", lambda: {"max_recommended_working_set_size": 8_000})
    for name in ("memory", "cache"):
        monkeypatch.setattr(mx, f"set_{name}_limit", lambda size: 5)
    monkeypatch.setattr(mx, "set_wired_limit", missing)
    with runtime.metal_limits() as limits:
        assert limits == {"memory": 8_000, "cache": 0}
