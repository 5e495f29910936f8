"""What a command shows while it works."""

import io
import sys

from geofm.cli.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_name_with_brackets_is_shown_as_it_is(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "200")
    with progress_bar("mapping a[/b]") as progress:
        progress(0.5, "scene [red]1")
    assert "mapping a[/b]" in sys.stderr.getvalue()
