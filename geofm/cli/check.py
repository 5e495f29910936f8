"""``geofm check``: labelled scenes in, what is wrong with them out."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from geofm.cli.arguments import Result
from geofm.cli.labelled import each_of, source_of, task_of
from geofm.cli.progress import progress_bar
from geofm.cli.words import as_flags, row_lines, typed, wrapped
from geofm.page import counted
from geofm.terminal import Style


def check(flags: Namespace, words: list[str], style: Style) -> Result:
    """``geofm check``; the exit code is 1 where there are problems."""
    from geofm.assess.check import check_pairs
    from geofm.assess.check_page import write_check_page
    from geofm.tasks import check_classes

    classes = check_classes(task_of(flags).classes)
    with progress_bar("opening scenes"):
        opened = each_of(flags, [kind.name for kind in classes])
    with progress_bar(f"checking {counted(len(opened.pairs), 'scene')}") as progress:
        report = check_pairs(
            opened.pairs,
            classes,
            failures=opened.failures,
            left_out=opened.left_out,
            allow_leakage=flags.allow_leakage,
            progress=progress,
        )
    source = {"dataset": flags.dataset, "catalog": flags.catalog, "folders": flags.images}
    title = Path(source[source_of(flags)]).name
    if flags.html:
        page = Path(flags.html)
        write_check_page(page, report, opened.pairs, classes, title=title, command=typed(words))
    width = max(map(len, (*report.facts, "given split"))) + 2
    lines = [f"{style.title(title)}: {counted(report.pairs, 'pair')} of scene and labels"]
    total = max(sum(report.classes.values()), 1)
    shares = ", ".join(f"{name} {count / total:.1%}" for name, count in report.classes.items())
    rows = {
        **report.facts,
        "labels": shares,
        **({"split": report.leakage} if report.leakage else {}),
    }
    told = {what: wrapped(text, indent=width) for what, text in rows.items()}
    lines += row_lines(told, style, width=width)
    marks = {"problem": style.bad("no"), "advice": style.warn("!!")}
    lines += [
        f"{marks[one.weight]}  {wrapped(as_flags(one.text), indent=4)}" for one in report.findings
    ]
    if not report.findings:
        lines.append(f"{style.good('ok')}  nothing stands in the way")
    if flags.html:
        lines.append(f"pictures: {style.name(flags.html)}")
    if not report.problems:
        lines.append(f"next: {_finetune(words, task_of(flags).name)}")
    return Result("\n".join(lines), report.plain(), 1 if report.problems else 0)


def _finetune(words: Sequence[str], task: str) -> str:
    """The command that trains on what was checked: all that was typed, but for what check writes.

    >>> _finetune(["check", "--images", "a b", "--html", "c.html", "--scale", "1e-4"], "flood")
    "geofm finetune --images 'a b' --scale 1e-4 -o flood.geofm"
    """
    own = [at for at, word in enumerate(words) if word == "--html"]
    left_out = {0, *own, *(at + 1 for at in own)}
    kept = [
        word
        for at, word in enumerate(words)
        if at not in left_out and word != "--json" and not word.startswith("--html=")
    ]
    return typed(["finetune", *kept, "-o", f"{task}.geofm"])
