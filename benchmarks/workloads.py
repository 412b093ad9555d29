"""One training step and one sampling pass of a task's teacher, timed in a process of its own.

``python -m benchmarks.workloads mlx|torch FOLDER`` reads lines of two words from standard input:
what to do (``outputs``, ``step`` or ``sample``) and a name for the outputs. It answers each with
the seconds it took. Whether MLX runs as found or as `ado_nas.runtime` starts it, ``ADO_RUNTIME``
says. FOLDER holds the task and the inputs; the outputs go there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ado_nas.diffusion.levels import karras_levels
from ado_nas.specs import TaskSpec, from_dict, to_dict

Inputs = dict[str, np.ndarray]
Work = dict[str, Callable[[], Inputs | None]]
TASK, INPUTS, OUTPUTS = "task.json", "inputs.npz", "outputs-{}.npz"


def write_inputs(task: TaskSpec, nfe: int, seed: int, folder: Path) -> None:
    """Draw inputs and weights once, for all processes.

    Fresh networks end in zeros and would compute nothing, so all weights are drawn.

    Args:
        task: its teacher, batch sizes and noise range are used.
        nfe: network evaluations of the sampling pass.
        seed: of every draw.
        folder: gets the task and the inputs.
    """
    from ado_nas.models.unet import build_unet, named_parameters

    rng = np.random.default_rng(seed)
    unet, batch, count = task.teacher.unet, task.teacher.batch, task.latency_batch
    shape = (unet.resolution, unet.resolution, unet.in_channels)
    log_ratio = task.teacher.p_mean + task.teacher.p_std * rng.standard_normal(batch)
    limits = (task.trajectories.sigma_min, task.trajectories.sigma_max)
    inputs = {
        "x0": rng.uniform(-1, 1, (batch, *shape)).astype(np.float32),
        "sigma": (unet.sigma_data * np.exp(log_ratio)).astype(np.float32),
        "noise": rng.standard_normal((batch, *shape), dtype=np.float32),
        "labels": rng.integers(0, unet.num_classes + 1, batch).astype(np.int32),
        "start": rng.standard_normal((count, *shape), dtype=np.float32),
        "classes": rng.integers(0, unet.num_classes + 1, count).astype(np.int32),
        "levels": karras_levels(nfe, *limits),
    }
    for name, value in named_parameters(build_unet(unet, seed)):
        spread = 0.02 * rng.standard_normal(value.shape)
        inputs[f"weight.{name}"] = np.array(value) + spread.astype(np.float32)
    np.savez(folder / INPUTS, **inputs)  # type: ignore[arg-type]
    (folder / TASK).write_text(json.dumps(to_dict(task)))


def mlx_work(task: TaskSpec, inputs: Inputs) -> Work:
    """The step and the pass in MLX, by the code that trains and samples everywhere here."""
    import mlx.core as mx

    from ado_nas.diffusion.sampling import sample_batch
    from ado_nas.models.unet import build_unet
    from ado_nas.training.step import Stepper, gradients, schedule, split
    from ado_nas.training.teacher import edm_loss

    unet = build_unet(task.teacher.unet)
    unet.load_weights([(k, mx.array(v)) for k, v in weights(inputs).items()])
    rate = schedule(task.teacher.learning_rate, task.teacher.warmup, task.teacher.iterations)
    stepper = Stepper(unet, edm_loss, rate, task.teacher.ema_decay)
    batch = tuple(mx.array(inputs[k]) for k in ("x0", "sigma", "noise", "labels"))
    start, classes = mx.array(inputs["start"]), mx.array(inputs["classes"])
    mx.eval(unet.parameters(), batch, start, classes)

    def sample() -> mx.array:
        return sample_batch(unet, "dpmpp_2m", inputs["levels"], start, classes)

    def step() -> None:
        stepper(*batch)

    def outputs() -> Inputs:
        loss, grads = gradients(edm_loss, unet, split(batch))
        found = {f"gradient.{k}": np.array(g) for k, g in grads.items()}
        return {**found, "loss": np.array(loss), "images": np.array(sample())}

    return {"outputs": outputs, "step": step, "sample": lambda: mx.eval(sample())}


def torch_work(task: TaskSpec, inputs: Inputs) -> Work:
    """The same in PyTorch: the twin network, Adam, clipping and the moving average."""
    import torch

    from benchmarks import twin

    unet = twin.TwinUNet(task.teacher.unet)
    twin.load(unet, weights(inputs))
    adam = torch.optim.Adam(unet.parameters(), task.teacher.learning_rate, betas=(0.9, 0.99))
    average = [p.detach().clone() for p in unet.parameters()]
    x0, noise, start = (twin.channels_first(inputs[k]) for k in ("x0", "noise", "start"))
    sigma, labels, classes = (torch.from_numpy(inputs[k]) for k in ("sigma", "labels", "classes"))

    def loss() -> torch.Tensor:
        return twin.edm_loss(unet, x0, sigma, noise, labels.long())

    def sample() -> torch.Tensor:
        with torch.inference_mode():
            return twin.dpmpp_2m(unet, start, inputs["levels"], classes.long())

    def step() -> None:
        adam.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(unet.parameters()), 1 - task.teacher.ema_decay)

    def outputs() -> Inputs:
        value = loss()
        value.backward()
        found = {f"gradient.{k}": g for k, g in twin.gradients(unet).items()}
        images = sample().permute(0, 2, 3, 1)
        return {**found, "loss": value.detach().numpy(), "images": images.numpy()}

    return {"outputs": outputs, "step": step, "sample": lambda: _nothing(sample())}


def weights(inputs: Inputs) -> Inputs:
    """The network's parameters among the inputs, by their names."""
    return {k.removeprefix("weight."): v for k, v in inputs.items() if k.startswith("weight.")}


def _nothing(_value: Any) -> None:
    return None


def main() -> None:
    """Answer requests until standard input ends."""
    engine, folder = sys.argv[1], Path(sys.argv[2])
    task = from_dict(TaskSpec, json.loads((folder / TASK).read_text()))
    with np.load(folder / INPUTS) as file:
        inputs = dict(file)
    work = {"mlx": mlx_work, "torch": torch_work}[engine](task, inputs)
    for line in sys.stdin:
        word, name = line.split()
        begin = time.perf_counter()
        found = work[word]()
        seconds = time.perf_counter() - begin
        if found is not None:
            np.savez(folder / OUTPUTS.format(name), **found)  # type: ignore[arg-type]
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
