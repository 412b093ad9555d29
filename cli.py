"""The command line: parses, calls one function, prints.

Nothing heavy is imported here: each command imports what it needs, so that ``--help`` answers at
once.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ado_nas.doctor import Patient
    from studies.record import StudyRecord

app = typer.Typer(
    name="ado-nas",
    help="Find small, few-step diffusion models worth having, on Apple MLX.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data = typer.Typer(help="Datasets and their manifests.", no_args_is_help=True)
app.add_typer(data, name="data")

# The base of Typer's usage errors, whichever click Typer brings.
ClickError: type[Exception] = typer.BadParameter.__mro__[2]

Workspace = Annotated[
    Path,
    typer.Option("--workspace", envvar="ADO_WORKSPACE", help="Folder of studies and caches."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Where studies are kept: an Optuna URL, journal:///FILE or grpc://HOST:PORT."
    ),
]
Artifacts = Annotated[
    str | None, typer.Option(help="Where their files are kept: a folder, or s3://BUCKET.")
]
Channels = Annotated[
    int | None,
    typer.Option(help="Turn a folder's images gray (1) or RGB (3)."),
]
Seed = Annotated[int, typer.Option(min=0, help="What every random draw starts from.")]
DEFAULT = Path("ado-runs")
MODEL_FILES = ("model.safetensors", "spec.json", "sampler.json", "card.json")
STUDY_MODELS = {
    "teacher": "`search` makes one",
    "supernet": "`search` makes one where the config's [task.supernet] has iterations",
}  # how a study comes by them
INTERRUPTED = 130


@app.command()
def search(
    preset: Annotated[
        str | None, typer.Option(help="digits, shapes32, patches32, ...; the data's if left out.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML settings over the preset's.")] = None,
    data: Annotated[str | None, typer.Option(help="digits, patches, shapes, or a folder.")] = None,
    resolution: Annotated[int | None, typer.Option(min=1, help="Side in pixels.")] = None,
    channels: Channels = None,
    teacher: Annotated[
        str | None, typer.Option(help="To imitate: a folder, or STUDY:teacher.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Its name; the preset's if left out.")] = None,
    trials: Annotated[int | None, typer.Option(help="Candidates to train, in total.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds until no trial starts.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that try candidates.")] = None,
    sampler: Annotated[str | None, typer.Option(help="tpe, nsga2, random, qmc or gp.")] = None,
    pruner: Annotated[
        str | None, typer.Option(help="pareto, which stops trials far behind, or none.")
    ] = None,
    finalists: Annotated[
        int | None, typer.Option(help="Front members to train again from other seeds; 0: none.")
    ] = None,
    warm_start: Annotated[
        str | None, typer.Option(help="An earlier study whose trials are carried over.")
    ] = None,
    storage: Storage = None,
    artifacts: Artifacts = None,
    seed: Annotated[int | None, typer.Option(help="What random draws start from.")] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Limit per image, in batches of 16.")
    ] = None,
    max_size_mb: Annotated[float | None, typer.Option(help="Limit of the weights.")] = None,
    max_memory_mb: Annotated[float | None, typer.Option(help="Limit of peak memory.")] = None,
    memory_budget_mb: Annotated[
        float | None,
        typer.Option(help="What each process may take; a share of the device's if left out."),
    ] = None,
    min_retention: Annotated[
        float | None, typer.Option(help="Limit on the share of quality kept; 0.5 by most presets.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; with --json all settings.")
    ] = False,
    no_track: Annotated[bool, typer.Option("--no-track", help="No MLflow mirror.")] = False,
    workspace: Workspace = DEFAULT,
    as_json: Json = False,
) -> None:
    """Search for students worth having, from nothing to a report; again to resume.

    Example: python cli.py search --preset smoke --json
    """
    flags = {
        "data": _data_name(data),
        "resolution": resolution,
        "channels": channels,
        "study": study,
        "trials": trials,
        "timeout": timeout,
        "workers": workers,
        "sampler": sampler,
        "pruner": pruner,
        "finalists": finalists,
        "warm_start": warm_start,
        "storage": storage,
        "artifacts": artifacts,
        "seed": seed,
        "max_latency_ms": max_latency_ms,
        "max_size_mb": max_size_mb,
        "max_memory_mb": max_memory_mb,
        "memory_budget_mb": memory_budget_mb,
        "min_retention": min_retention,
        "track": False if no_track else None,
        "task.teacher_folder": _teacher(teacher, storage, workspace),
    }
    from ado_nas.data import check
    from reports import terminal
    from studies.config import resolve
    from studies.search import plan
    from studies.search import search as run

    settings = resolve(preset, config, flags)
    check(settings.task.data)
    if dry_run:
        return _json(plan(settings)) if as_json else terminal.show_plan(plan(settings))
    place = _workspace(workspace)
    from reports.page import ReportPaths, write_report
    from reports.summary import summary
    from studies.folders import study_folder

    made: list[ReportPaths] = []
    folder = study_folder(place, settings.study) / "report"
    with terminal.progress() as progress:
        record = run(
            settings,
            place,
            progress,
            lambda whole: made.append(write_report(whole, folder, place)),
        )
    found = summary(record, made[-1])
    return _json(found) if as_json else terminal.show_search(record, found)


@app.command()
def optimize(
    preset: Annotated[
        str | None, typer.Option(help="digits, shapes32, patches32, ...; the data's if left out.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML settings over the preset's.")] = None,
    data: Annotated[str | None, typer.Option(help="digits, patches, shapes, or a folder.")] = None,
    resolution: Annotated[int | None, typer.Option(min=1, help="Side in pixels.")] = None,
    channels: Channels = None,
    teacher: Annotated[
        str | None, typer.Option(help="To optimize: a folder, or STUDY:teacher.")
    ] = None,
    target_steps: Annotated[int | None, typer.Option(help="Network evaluations wanted.")] = None,
    quality_threshold: Annotated[
        float | None, typer.Option(help="Least retention that passes, above 0, at most 1.")
    ] = None,
    stages: Annotated[
        str | None, typer.Option(help="Steps after each stage, as 12,6,4; planned if left out.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="auto, anchored, chained or consistency.")
    ] = None,
    compress: Annotated[
        str | None, typer.Option(help="none, auto for the smallest that passes, or a size in MB.")
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Of one stage.")] = None,
    seed: Annotated[int | None, typer.Option(help="What random draws start from.")] = None,
    memory_budget_mb: Annotated[
        float | None,
        typer.Option(help="What a process may take; a share of the device's if left out."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A copy of the model folder goes here.")] = None,
    storage: Storage = None,
    workspace: Workspace = DEFAULT,
    as_json: Json = False,
) -> None:
    """Distill one model to few steps, through quality gates; again to resume.

    Example: python cli.py optimize --preset digits --target-steps 2 --compress auto
    """
    from ado_nas.data import check
    from ado_nas.files import check_place
    from reports import terminal
    from studies.config import resolve

    names = {
        "target_steps": target_steps,
        "quality_threshold": quality_threshold,
        "stages": _numbers("--stages", stages),
        "method": method,
        "compress": compress,
        "training.iterations": iterations,
        "seed": seed,
    }
    flags = {
        "data": _data_name(data),
        "resolution": resolution,
        "channels": channels,
        "memory_budget_mb": memory_budget_mb,
        "task.teacher_folder": _teacher(teacher, storage, workspace),
        **{f"optimization.{name}": value for name, value in names.items()},
    }
    settings = resolve(preset, config, flags)
    check(settings.task.data)
    place = _workspace(workspace)
    from ado_nas.distillation.optimize import check as check_goal
    from ado_nas.distillation.optimize import optimize as run
    from reports.tradeoff import write_tradeoff

    check_goal(settings.task, settings.optimization)
    if out:
        check_place("--out", out, folder=True)
    with terminal.progress() as progress:
        found = run(settings.task, settings.optimization, place, progress)
    points = json.loads(Path(found.tradeoff).read_text())
    page = write_tradeoff(points, Path(found.tradeoff).with_suffix(".html"))
    places = {"model": found.model, "report": str(page)}
    if out:
        shutil.copytree(found.model, out, dirs_exist_ok=True)
        places["model"] = str(out)
    if as_json:
        _json({**dataclasses.asdict(found), **places})
    else:
        terminal.show_optimized({**points, **places})
    raise typer.Exit(0 if found.reached else 1)


@app.command()
def show(
    study: Annotated[str | None, typer.Argument(help="All studies if left out.")] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="One trial, whole.")] = None,
    pick: Annotated[
        str | None,
        typer.Option(help="Of the front: best, knee, latency=2.0, weights=quality:2,size:1, ..."),
    ] = None,
    storage: Storage = None,
    workspace: Workspace = DEFAULT,
    as_json: Json = False,
) -> None:
    """Studies; the trials of one; one trial whole; or one front member by what matters.

    Example: python cli.py show digits --pick latency=2.0
    """
    from ado_nas.errors import ConfigError
    from reports import terminal

    if study is None:
        if trial is not None or pick is not None:
            option = "--pick" if trial is None else "--trial"
            raise ConfigError(f"{option} needs a study; give its name before it")
        names = _studies(storage, workspace)
        rows = [terminal.study_row(_record(name, storage, workspace)) for name in names]
        return _json({"studies": rows}) if as_json else terminal.table(rows)
    record = _record(study, storage, workspace)
    if pick is not None:
        if trial is not None:
            raise ConfigError("--trial and --pick both name a trial; give one of them")
        from reports.summary import picked

        taken = picked(record, pick)
        return _json(taken) if as_json else terminal.sections(taken["pick"])
    if trial is not None:
        found = terminal.trial_facts(record, trial)
        return _json({"trial": found}) if as_json else terminal.sections(found)
    if as_json:
        from reports.summary import summary

        trials = [dataclasses.asdict(t) for t in record.trials]
        return _json({**summary(record, None), "trials": trials})
    terminal.table([terminal.trial_row(record, t) for t in record.trials])


@app.command()
def report(
    study: Annotated[str, typer.Argument(help="Its name.")],
    figures: Annotated[
        Path | None, typer.Option(help="A folder for every figure as SVG and PNG, too.")
    ] = None,
    storage: Storage = None,
    workspace: Workspace = DEFAULT,
    as_json: Json = False,
) -> None:
    """Write a study's HTML report, with CSV and JSON beside it.

    Example: python cli.py report digits --figures figures
    """
    from reports.page import write_report
    from studies.folders import study_folder

    record = _record(study, storage, workspace)
    place = _workspace(workspace)
    paths = write_report(record, study_folder(place, study) / "report", place, figures)
    if as_json:
        return _json(dataclasses.asdict(paths))
    print(paths.html)


@app.command()
def compare(
    studies: Annotated[list[str], typer.Argument(help="Names, two or more.")],
    html: Annotated[Path | None, typer.Option(help="A file for a page with figures, too.")] = None,
    storage: Storage = None,
    workspace: Workspace = DEFAULT,
    as_json: Json = False,
) -> None:
    """Studies side by side, a table for each device: latencies of two never share a front.

    Example: python cli.py compare digits digits-wide --html compared.html
    """
    from ado_nas.errors import ConfigError
    from ado_nas.files import check_place
    from reports import comparison, terminal

    if len(set(studies)) < 2:
        raise ConfigError(f"compare {' '.join(studies)}: give two studies or more; see `show`")
    if html is not None:
        check_place("--html", html)
    records = [_record(n, storage, workspace) for n in dict.fromkeys(studies)]
    found = comparison.rows(records)
    if html is not None:
        from reports.beside import write_comparison

        write_comparison(records, html, workspace)
    if as_json:
        return _json({"rows": found, **({"html": html} if html is not None else {})})
    for device, rows in comparison.by_device(found).items():
        print(device)
        terminal.table(rows)
    if html is not None:
        print(html)


@app.command()
def worker(
    study: Annotated[str, typer.Argument(help="Its name; search runs it elsewhere.")],
    storage: Storage = None,
    artifacts: Annotated[
        str | None, typer.Option(help="Its artifact store, where that is not found by itself.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 for what is best here.")] = 0,
    train_only: Annotated[
        bool, typer.Option("--train-only", help="Leave the timing to the study's own device.")
    ] = False,
    workspace: Workspace = DEFAULT,
    as_json: Json = False,
) -> None:
    """Join a running study from any machine, until it wants no more.

    Example: python cli.py worker digits --storage postgresql://ado@host/studies --json
    """
    from reports import terminal
    from studies.joining import Joining, join

    joining = Joining(study, storage or "", artifacts or "", workers, train_only)
    with terminal.progress() as progress:
        ended = join(joining, workspace, progress)
    completed = ended["complete"] + ended["trained"]
    if as_json:
        return _json({"study": study, "completed": completed, "states": dict(ended)})
    print(f"{completed} trials of {study} completed here")


@app.command()
def proxy(
    storage: Storage = None,
    host: Annotated[str, typer.Option(help="Where to listen; it asks nobody who they are.")] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 13000,
    workspace: Workspace = DEFAULT,
) -> None:
    """Keep the connections of many workers to one database, until Ctrl-C.

    Example: python cli.py proxy --storage postgresql://ado@host/studies --port 13000
    """
    from studies.proxy import HOST, serve
    from studies.storage import open_store, storage_url

    server = serve(
        open_store(storage_url(storage or "", _workspace(workspace))), host or HOST, port
    )
    _announce(f"grpc://{host or HOST}:{server.port}")
    try:
        server.wait_for_termination()
    except KeyboardInterrupt:
        server.stop(1).wait()


@app.command()
def dashboard(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Where to listen; by default, for you alone.")] = "",
    storage: Storage = None,
    workspace: Workspace = DEFAULT,
) -> None:
    """Browse studies with optuna-dashboard, with samples, notes and the front, until Ctrl-C.

    Example: python cli.py dashboard --port 8080
    """
    from reports.dashboard import HOST, run
    from studies.folders import artifact_folder
    from studies.storage import storage_url

    _studies(storage, workspace)
    place = _workspace(workspace)
    url = storage_url(storage or "", place)
    raise typer.Exit(run(url, artifact_folder(place), host or HOST, port, announce=_announce))


@app.command()
def schedule(
    model: Annotated[
        str, typer.Argument(help="STUDY:teacher, STUDY:supernet, or a teacher's folder.")
    ],
    solvers: Annotated[
        str, typer.Option(help="With commas; generalized learns corrections, too.")
    ] = "ddim,dpmpp_2m,ipndm_3",
    nfe: Annotated[str, typer.Option(help="Network evaluations, as 4,5,6.")] = "4,5,6,8",
    refine: Annotated[
        int,
        typer.Option(
            min=0,
            help="Iterations of refinement by gradient, before a direct search; 0 for neither.",
        ),
    ] = 120,
    samples: Annotated[int, typer.Option(help="Images that each is judged on.")] = 1000,
    latency_ms: Annotated[
        float | None, typer.Option(help="Milliseconds an image may take on this device.")
    ] = None,
    images_per_s: Annotated[
        float | None, typer.Option(help="Images a second wanted on this device.")
    ] = None,
    mean_nfe: Annotated[
        float | None, typer.Option(help="Learn steps by content, too, of so many on average.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to save it in; in the model's folder if left out."),
    ] = None,
    storage: Storage = None,
    workspace: Workspace = DEFAULT,
    as_json: Json = False,
) -> None:
    """Learn and compare sampling schedules of a model, and save the best with it.

    Within a time, a supernet may run narrow at some noise levels. Steps by content give hard
    images more evaluations, and are what `sample` goes by where they prove better.

    Example: python cli.py schedule digits:teacher --nfe 4,5,6

    Example: python cli.py schedule digits:teacher --mean-nfe 4.5

    Example, of a study whose [task.supernet] has iterations:
    python cli.py schedule mine:supernet --nfe 1,2 --latency-ms 2
    """
    folder = _model_folder(model, storage, workspace)
    from ado_nas.adaptive.finding import schedule_model
    from ado_nas.adaptive.goal import ScheduleGoal, check
    from ado_nas.adaptive.recipe import SCHEDULE
    from ado_nas.adaptive.refine import Refinement
    from ado_nas.adaptive.tuning import converted
    from ado_nas.errors import ConfigError
    from ado_nas.files import check_place
    from ado_nas.modelfolder import load_model
    from reports import terminal

    refinement = Refinement(iterations=refine) if refine else None
    counts = _numbers("--nfe", nfe) or []
    names = tuple(name.strip() for name in solvers.split(","))
    if latency_ms is not None and images_per_s is not None:
        raise ConfigError("--latency-ms and --images-per-s say the same; give one of them")
    if images_per_s is not None:
        latency_ms = converted(images_per_s)
    goal = ScheduleGoal(names, tuple(counts), refinement, samples, latency_ms, mean_nfe)
    check_place("--out" if out else "schedule file", out or folder / SCHEDULE)
    loaded = load_model(folder)
    check(loaded, goal)
    with terminal.progress() as progress:
        found = schedule_model(loaded, goal, _workspace(workspace), out, progress)
    return _json(found) if as_json else terminal.show_schedules(found)


@app.command()
def sample(
    model: Annotated[
        str,
        typer.Argument(
            help="A trial (STUDY:NUMBER), STUDY:best or another way of `show --pick`, "
            "STUDY:teacher, or a model folder."
        ),
    ],
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 40,
    seed: Seed = 0,
    label: Annotated[int | None, typer.Option(min=0, help="One class; else all in turn.")] = None,
    out: Annotated[
        Path, typer.Option(help="A .png for one grid, or a folder for single images.")
    ] = Path("samples.png"),
    schedule: Annotated[
        Path | None,
        typer.Option(
            help="A file of `schedule`, or a policy's folder; what was saved with the model if "
            "left out."
        ),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=1, help="Side in pixels, of those it was trained for.")
    ] = None,
    storage: Storage = None,
    workspace: Workspace = DEFAULT,
    as_json: Json = False,
) -> None:
    """Draw images with a model; one seed always gives the same ones.

    Example: python cli.py sample digits:3 --count 40 --seed 1 --out samples.png

    Example: python cli.py sample digits:latency=2.0

    Example: python cli.py sample digits:teacher --schedule fast.json
    """
    folder = _model_folder(model, storage, workspace)
    from ado_nas.drawing import draw
    from ado_nas.modelfolder import load_model
    from reports import terminal

    loaded = load_model(folder)
    with terminal.progress() as progress:
        found = draw(loaded, count, seed, label, out, progress, schedule, resolution)
    if as_json:
        return _json(dataclasses.asdict(found))
    for path in found.paths:
        print(path)


@app.command()
def doctor(
    preset: Annotated[str | None, typer.Option(help="Plan its teacher's training.")] = None,
    data: Annotated[str | None, typer.Option(help="Plan a teacher's of these images.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Plan this one's: named as for `sample`."),
    ] = None,
    resolution: Annotated[int | None, typer.Option(min=1, help="Side in pixels.")] = None,
    channels: Channels = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images in a training step.")] = None,
    memory_budget_mb: Annotated[
        float | None,
        typer.Option(help="What a process may take; a share of the device's if left out."),
    ] = None,
    storage: Storage = None,
    workspace: Workspace = DEFAULT,
    as_json: Json = False,
) -> None:
    """Look at device, runtime and memory, plan a training, and say what would be better.

    Example: python cli.py doctor --preset shapes16 --resolution 32 --batch 64
    """
    from ado_nas.doctor import examine
    from ado_nas.errors import ConfigError
    from reports import terminal

    patient = None
    if model and (preset or data):
        raise ConfigError(f"--model {model}: give it, or a teacher's --preset or --data")
    if preset or data or model:
        flags = {"data": _data_name(data), "resolution": resolution, "channels": channels}
        patient = _patient(preset, flags, model, storage, workspace)
        patient = dataclasses.replace(
            patient,
            batch=batch or patient.batch,
            budget_mb=memory_budget_mb or 0.0,
            tables=workspace / "cache" / "operators",
        )
    elif resolution or channels or batch or memory_budget_mb:
        raise ConfigError("give --preset, --data or --model, too: there is nothing to plan")
    found = examine(patient)
    if as_json:
        return _json(found)
    if patient is not None:
        terminal.table(found["layers"])
        terminal.sections({"plan": found["plan"]})
    terminal.sections({name: found[name] for name in ("device", "runtime", "memory")})
    print("extras")
    for name, extra in found["extras"].items():
        state = "installed" if extra["installed"] else "missing"
        print(f"  {name:<24} {state}: {extra['enables']}")
    print("recommendations")
    for line in found["recommendations"] or ["none: this machine is well set up"]:
        print(f"  {line}")


@app.command()
def benchmark(
    name: Annotated[str | None, typer.Argument(help="See --list.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Names and minutes.")] = False,
    row: Annotated[int | None, typer.Option(min=0, help="Run one row alone.")] = None,
    seed: Seed = 0,
    workspace: Workspace = DEFAULT,
    as_json: Json = False,
) -> None:
    """Measure again what the README quotes.

    Example: python cli.py benchmark runtime --json
    """
    from ado_nas.errors import ConfigError
    from benchmarks import BENCHMARKS, find
    from reports import terminal

    if list_:
        rows = [
            {"name": n, "minutes": b.minutes, "summary": b.summary} for n, b in BENCHMARKS.items()
        ]
        return _json({"benchmarks": rows}) if as_json else terminal.table(rows)
    if name is None:
        raise ConfigError(f"which benchmark? known: {', '.join(BENCHMARKS)}")
    run = find(name)
    place = _workspace(workspace)
    with terminal.progress() as progress:
        found = run(seed=seed, row=row, workspace=place, progress=progress)
    from ado_nas.device import environment

    found = {"name": name, "seed": seed, **found, "environment": environment()}
    if as_json:
        return _json(found)
    print(f"{name}, seed {seed}")
    terminal.table(found["rows"])


@data.command("list")
def data_list(workspace: Workspace = DEFAULT, as_json: Json = False) -> None:
    """The datasets there are, and those built in this workspace.

    Example: python cli.py data list
    """
    from ado_nas.data import datasets
    from ado_nas.files import read_json
    from reports import terminal

    built = []
    for path in sorted((workspace / "cache").glob("data/**/manifest.json")):
        facts = read_json(path) or {}
        built.append({**{k: facts.get(k) for k in ("name", "digest")}, "manifest": str(path)})
    if as_json:
        return _json({"datasets": datasets(), "built": built})
    terminal.table(datasets())
    if built:
        print()
        terminal.table(built)


@data.command("build")
def data_build(
    name: Annotated[str, typer.Argument(help="digits, patches, shapes, or a folder of images.")],
    resolution: Annotated[int, typer.Option(min=1, help="Side in pixels.")] = 16,
    count: Annotated[int, typer.Option(min=0, help="Images of a procedural set.")] = 0,
    difficulty: Annotated[int, typer.Option(min=1, help="shapes: objects at most.")] = 1,
    channels: Channels = None,
    flips: Annotated[bool, typer.Option("--flips", help="patches: mirror half of them.")] = False,
    averaged_from: Annotated[
        int, typer.Option(min=0, help="Load at this side and average it down; 0: do not.")
    ] = 0,
    seed: Seed = 0,
    workspace: Workspace = DEFAULT,
    as_json: Json = False,
) -> None:
    """Build a dataset with its split, manifest and digest.

    Example: python cli.py data build shapes --resolution 16 --count 2000
    """
    from ado_nas.data import build, verify
    from ado_nas.specs import DataSpec

    spec = DataSpec(
        name=_data_name(name) or name,
        resolution=resolution,
        count=count,
        difficulty=difficulty,
        seed=seed,
        channels=channels or 0,
        flips=flips,
        averaged_from=averaged_from,
    )
    path = build(spec, _workspace(workspace) / "cache")
    _print_dataset(verify(path).manifest, path, as_json)


@data.command("verify")
def data_verify(
    manifest: Annotated[Path, typer.Argument(help="A manifest.json, or its folder.")],
    as_json: Json = False,
) -> None:
    """Check a built dataset against its manifest.

    Example: python cli.py data verify ado-runs/cache/data/0123456789ab
    """
    from ado_nas.data import verify

    _print_dataset(verify(manifest).manifest, manifest, as_json)


def main() -> None:
    """Run the command line; a mistake of the user's is one line on stderr and its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever shuts down, as Ctrl-C
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except ClickError as error:
        _fail(f"{error.format_message()} (see --help)", 2)  # type: ignore[attr-defined]
    except Exception as error:
        from ado_nas.errors import NO_SPACE, AdoNasError, full_disk

        if full_disk(error):
            _fail(NO_SPACE, 2)
        if not isinstance(error, AdoNasError):
            raise
        _fail(str(error), error.exit_code)
    if code == INTERRUPTED:
        _fail("interrupted; the same command goes on from here", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _json(value: dict[str, Any]) -> None:
    from ado_nas.files import strict

    print(json.dumps(strict(value), indent=2, allow_nan=False))


def _print_dataset(manifest: dict[str, Any], path: Path, as_json: bool) -> None:
    keys = ("name", "digest", "counts", "shape", "classes")
    found = {**{k: manifest[k] for k in keys}, "manifest": str(path)}
    # Of folders: what was done to images, and files that could not be read.
    found |= {k: manifest[k] for k in ("notes", "skipped") if manifest.get(k)}
    if as_json:
        return _json(found)
    from reports import terminal

    terminal.sections(found)


def _numbers(option: str, given: str | None) -> list[int] | None:
    from ado_nas.errors import ConfigError

    if given is None:
        return None
    words = [word.strip() for word in given.split(",")]
    if not all(word.isdecimal() for word in words):
        raise ConfigError(f"{option} {given!r}: give numbers with commas between, as 12,6,4")
    return [int(word) for word in words]


def _data_name(given: str | None) -> str | None:
    """A folder by its full path, so that workers and later runs mean the same one."""
    from ado_nas.specs import DATASETS

    if given is None or given in DATASETS or not Path(given).is_dir():
        return given
    return str(Path(given).resolve())


def _model_folder(model: str, storage: str | None, workspace: Path) -> Path:
    """The folder of a model: STUDY: and what it has there, or its path.

    Of a study that is a trial's number, ``teacher``, ``supernet``, or a way to pick of the front.
    """
    from ado_nas.errors import ModelError

    study, _, which = model.partition(":")
    named = bool(study and which) and not Path(model).is_dir()
    if named and which in STUDY_MODELS:
        folder = _study_model(study, which, storage, workspace)
    elif named:
        number = int(which) if which.isdecimal() else _picked(study, which, storage, workspace)
        from studies.folders import trial_folder

        folder = trial_folder(workspace, study, number)
        if not folder.is_dir() and study in _studies(storage, workspace):
            folder = _recorded_folder(study, number, storage, workspace) or folder
    else:
        folder = Path(model)
    if not folder.is_dir():
        raise ModelError(
            f"no model at {folder}; give STUDY:NUMBER (see `show`), STUDY:best or a model folder"
        )
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} is no model folder: it lacks {', '.join(missing)}")
    return folder.resolve()


def _teacher(given: str | None, storage: str | None, workspace: Path) -> str | None:
    return str(_model_folder(given, storage, workspace)) if given else None


def _picked(study: str, how: str, storage: str | None, workspace: Path) -> int:
    """The number of the trial that a way to pick takes of a study's front."""
    from studies.selection import select

    return select(_record(study, storage, workspace), how).number


def _recorded_folder(study: str, number: int, storage: str | None, workspace: Path) -> Path | None:
    """Where the model of a trial lies that an earlier study has trained."""
    trials = _record(study, storage, workspace).trials
    return next((Path(t.folder) for t in trials if t.number == number and t.folder), None)


def _patient(
    preset: str | None,
    flags: dict[str, Any],
    model: str | None,
    storage: str | None,
    workspace: Path,
) -> Patient:
    """A teacher's network, or a model's, at a resolution, with its batches."""
    from ado_nas.doctor import Patient
    from ado_nas.modelfolder import load_model
    from ado_nas.specs import DistillationSpec, QualitySpec

    if model:
        loaded = load_model(_model_folder(model, storage, workspace))
        spec, drawn = loaded.unet.spec, loaded.card.get("candidate")
        trained = drawn["distillation"] if drawn else loaded.card.get("training", {})
        return Patient(
            dataclasses.replace(spec, resolution=flags["resolution"] or spec.resolution),
            trained.get("batch", DistillationSpec().batch),
            alone=not drawn,
            sampled=QualitySpec().batch,
        )
    from studies.config import resolve

    task = resolve(preset, None, flags).task
    return Patient(task.teacher.unet, task.teacher.batch, sampled=task.quality.batch)


def _study_model(study: str, name: str, storage: str | None, workspace: Path) -> Path:
    from ado_nas.errors import ModelError

    folder = _record(study, storage, workspace).reference.get(name)
    if not folder:
        raise ModelError(f"study {study} has no {name}; {STUDY_MODELS[name]}")
    return workspace / str(folder)


def _studies(storage: str | None, workspace: Path) -> list[str]:
    from ado_nas.errors import StudyError
    from studies.storage import storage_url, study_names

    if not storage and not workspace.is_dir():
        raise StudyError(f"no workspace at {workspace}; `search` makes one, --workspace names one")
    return study_names(storage_url(storage or "", workspace.resolve()))


def _record(study: str, storage: str | None, workspace: Path) -> StudyRecord:
    from studies.record import load
    from studies.storage import storage_url

    _studies(storage, workspace)
    place = workspace.resolve()
    return load(storage_url(storage or "", place), study, place)


def _announce(url: str) -> None:
    print(url, flush=True)


def _workspace(path: Path) -> Path:
    from studies.folders import open_workspace

    return open_workspace(path)


if __name__ == "__main__":
    main()
