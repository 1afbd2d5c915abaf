"""The ``fer`` command: run notebooks, write the report, recognise faces, check downloads.

What goes wrong is one sentence on stderr and exit code 1; a request that cannot be read is 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fer_lib import assets, parameters, paths, runs
from fer_lib.run_folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ``fer`` command.

    Args:
        arguments: the words after ``fer``; None takes those of this process.

    Returns:
        The exit code: 0 done, 1 something failed, 130 interrupted.
    """
    chosen = _parser().parse_args(arguments)
    try:
        return chosen.action(chosen)
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except Exception as error:  # the border: every error becomes a sentence
        if chosen.traceback:
            traceback.print_exc()
        _say(_sentence(error))
        return 1


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--traceback", action="store_true", help="show where an error came from")
    parser = argparse.ArgumentParser(prog="fer", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", parents=[shared], help="run one notebook"))
    _add_report(commands.add_parser("report", parents=[shared], help="run notebooks, write a page"))
    _add_predict(commands.add_parser("predict", parents=[shared], help="recognise faces in files"))
    _add_assets(commands.add_parser("assets", parents=[shared], help="downloads"))
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebook", metavar="NB", help="number or name: 02")
    parser.add_argument("-p", dest="parameters", metavar="KEY=VALUE", type=_pair, action="append")
    parser.add_argument("--preset", help="sizes from notebooks/presets/PRESET.json")
    parser.add_argument("--grid", type=Path, metavar="FILE", help="JSON: lists by parameter")
    parser.add_argument("--force", action="store_true", help="run again what is finished")
    parser.set_defaults(action=_run)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="quick", help="default: quick")
    parser.add_argument("--source", default="", help="the source that 01 reads")
    parser.add_argument("--root", default="", help="the folder of that source")
    parser.add_argument("--notebooks", nargs="+", metavar="NB", help="default: the preset's")
    parser.add_argument("--page-only", action="store_true", help="write the pages, run nothing")
    parser.add_argument("--force", action="store_true", help="run again what is finished")
    parser.set_defaults(action=_report)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="PATH", help="photographs, folders, clips")
    parser.add_argument("--judge", metavar="NAME", help="who answers, see --list")
    parser.add_argument("--every", type=float, metavar="S", help="a frame every S seconds of clips")
    parser.add_argument("--out", type=Path, help="default: results/predict/<time>")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, …; default: auto")
    parser.add_argument("--list", action="store_true", help="say who can answer here")
    parser.set_defaults(action=_predict)


def _add_assets(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("list", help="what is known").set_defaults(action=_assets_list)
    get = commands.add_parser("get", help="download one")
    get.add_argument("name")
    get.set_defaults(action=_assets_get)
    commands.add_parser("verify", help="check what is here").set_defaults(action=_assets_verify)


def _run(chosen: argparse.Namespace) -> int:
    from fer_lib import execute  # papermill takes seconds to import; other commands do without

    overrides = dict(chosen.parameters or [])
    if chosen.grid:
        points = execute.read_grid(chosen.grid)
        grid = execute.run_grid(
            chosen.notebook, points, overrides, chosen.preset, force=chosen.force, say=_say
        )
        _write_pages([Run(path) for path in grid.run_paths])
        print(grid.table_path)
        for failure in grid.failures:
            _say(failure)
        return 1 if grid.failures else 0
    path = _run_one(chosen.notebook, overrides, chosen)
    if path is None:
        return 1
    print(path)
    return 0


def _run_one(notebook: str, overrides: dict[str, str], chosen: argparse.Namespace) -> Path | None:
    """Run one notebook and write its page; give its run's folder, or None where it failed."""
    from fer_lib import execute

    try:
        path = execute.run(notebook, overrides, chosen.preset, force=chosen.force, say=_say)
    except execute.NotebookFailed as error:
        _write_pages([Run(error.run_path)])
        _say(str(error))
        return None
    _write_pages([Run(path)])
    return path


def _report(chosen: argparse.Namespace) -> int:
    done = chosen.page_only or _run_chain(chosen)
    print(_write_index(rewrite=chosen.page_only))
    return 0 if done else 1


def _run_chain(chosen: argparse.Namespace) -> bool:
    """Run the notebooks in order up to the first that fails; say whether all are done."""
    named = chosen.notebooks or parameters.read_preset(chosen.preset)
    stems = sorted({parameters.find_notebook(name).stem for name in named})
    requests = {stem: _source_parameters(stem, chosen.source, chosen.root) for stem in stems}
    # What takes no source is about drawn faces alone.
    if chosen.source not in ("", "synthetic"):
        requests = {stem: taken for stem, taken in requests.items() if taken}
    for stem, overrides in requests.items():
        parameters.settle(stem, overrides, chosen.preset)
    return all(_run_one(stem, overrides, chosen) for stem, overrides in requests.items())


def _source_parameters(notebook: str, source: str, root: str) -> dict[str, str]:
    """Give the parameters that lead a notebook to a source, of those it declares."""
    declared = parameters.read_parameters(parameters.find_notebook(notebook))
    folder = str(Path(root).expanduser().resolve()) if root else ""
    wanted = {"SOURCE": source, "STORE": source, "ROOT": folder}
    return {name: value for name, value in wanted.items() if value and name in declared}


def _write_pages(shown: list[Run]) -> None:
    from fer_lib.report import write_report

    for run in shown:
        write_report(run)


def _write_index(*, rewrite: bool) -> Path:
    """Write the page over all runs, and the pages it links to where they are not there."""
    from fer_lib.report_index import newest_of_each, write_index

    shown = newest_of_each(runs.every())
    missing = [run for run in shown if rewrite or not (run.path / "report.html").is_file()]
    _write_pages(missing)
    return write_index(shown, paths.results_dir() / "report" / "index.html")


def _predict(chosen: argparse.Namespace) -> int:
    from fer_lib import predict

    if chosen.list:
        print(predict.describe_readers())
        return 0
    if not chosen.paths:
        raise ValueError("expected photographs, folders or clips, got none; name some")
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    out = chosen.out or paths.results_dir() / "predict" / time
    forecast = predict.predict_files(
        chosen.paths, out, judge=chosen.judge, every_s=chosen.every, device=chosen.device
    )
    print(f"{forecast}\n{out / predict.TABLE}")
    return 0 if forecast.judged else 1


def _assets_list(chosen: argparse.Namespace) -> int:
    for asset in assets.registry().values():
        print(f"{asset.name}\n  {asset.note}\n  {asset.licence}\n  {asset.url}")
    return 0


def _assets_get(chosen: argparse.Namespace) -> int:
    print(assets.get(chosen.name))
    return 0


def _assets_verify(chosen: argparse.Namespace) -> int:
    """Check every asset; those that were never downloaded are no error."""
    code = 0
    for name in assets.registry():
        try:
            print(f"{name}: {'as expected' if assets.verify(name) else 'not downloaded'}")
        except assets.AssetError as error:
            _say(f"{name}: {error}")
            code = 1
    return code


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    return name, value


def _sentence(error: Exception) -> str:
    known = isinstance(error, ValueError | TypeError | RuntimeError | OSError)
    text = " ".join(str(error).split()) or "no reason given"
    if known and not isinstance(error, json.JSONDecodeError):
        return text
    return f"{type(error).__name__}: {text} (--traceback shows where)"


def _say(sentence: str) -> None:
    print(f"fer: {sentence}", file=sys.stderr, flush=True)
