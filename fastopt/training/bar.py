"""Progress bar of a training loop: tqdm's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..extras import imported

if TYPE_CHECKING:
    from .history import History


def tqdm_class() -> Any:
    """Return `tqdm.auto.tqdm`, or raise the ImportError that names the extra."""
    return imported("progress=True", "progress", "tqdm.auto").tqdm


class Bar:
    """Bar over the batches of all epochs, with the losses; or none.

    Attributes
    ----------
    is_shown : bool
    """

    def __init__(self, progress: Any, epochs: int, count: int | None) -> None:
        self.is_shown, self.epochs = bool(progress), epochs
        if self.is_shown:
            tqdm = tqdm_class()
            self.bar = tqdm(total=None if count is None else epochs * count, unit="batch")

    def begin(self, epoch: int, batches: int) -> None:
        """Count on from a run that was loaded."""
        if self.is_shown:
            self.bar.initial = self.bar.n = batches
            self.name(epoch - 1 if epoch else 0)

    def name(self, epoch: int) -> None:
        """Write which epoch runs, counted from 1."""
        if self.is_shown:
            self.bar.set_description(f"epoch {epoch + 1}/{self.epochs}", refresh=False)

    def update(self, count: int = 1) -> None:
        """Count batches."""
        if self.is_shown:
            self.bar.update(count)

    def show(self, history: History) -> None:
        """Show the losses of the last epoch."""
        if self.is_shown and history.loss:
            found = {"loss": history.loss, "validation": history.validation_loss}
            self.bar.set_postfix({name: f"{x[-1]:.4g}" for name, x in found.items() if x}, refresh=False)

    def close(self) -> None:
        """Draw the bar for the last time."""
        if self.is_shown:
            self.bar.close()
