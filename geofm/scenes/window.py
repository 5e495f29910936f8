"""A window: rows and columns of a grid, no pixels."""

from typing import NamedTuple


class Window(NamedTuple):
    """A rectangle of pixels: first row and column, height and width."""

    row: int
    col: int
    height: int
    width: int

    @property
    def stop_row(self) -> int:
        return self.row + self.height

    @property
    def stop_col(self) -> int:
        return self.col + self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array ``(..., H, W)``."""
        return slice(self.row, self.stop_row), slice(self.col, self.stop_col)

    def clip(self, height: int, width: int) -> "Window":
        """The part inside a grid of this size; empty sides become 0."""
        row, col = min(max(self.row, 0), height), min(max(self.col, 0), width)
        stop_row, stop_col = min(self.stop_row, height), min(self.stop_col, width)
        return Window(row, col, max(stop_row - row, 0), max(stop_col - col, 0))
