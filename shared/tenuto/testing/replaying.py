"""Whether code fits histories that were written down: for tests of changes to workflows that are live."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tenuto.app import App
from tenuto.core.histories import HistoryDocument, decode_document, replay_document

__all__ = ["assert_replays"]


def assert_replays(app: App, *histories: HistoryDocument | Path | str) -> None:
    """Replay histories against the workflows of `app`.

    Args:
        app: has today's code.
        histories: documents (`WorkflowHandle.export`, `WorkflowRun.export`), or paths of files that `tenuto workflow
            export` wrote, or of folders of such files.

    Raises:
        AssertionError: one does not fit, or there is none. The message shows code and history side by side.
        msgspec.DecodeError: a file holds no history of this release.
    """
    documents = list(_documents(histories))
    assert documents, "there are no histories to replay"  # noqa: S101 - it is what the function is for
    for document in documents:
        try:
            replay_document(app.resolve, document)
        except Exception as error:
            raise AssertionError(str(error)) from error


def _documents(histories: Iterable[HistoryDocument | Path | str]) -> Iterable[HistoryDocument]:
    for history in histories:
        if isinstance(history, HistoryDocument):
            yield history
            continue
        path = Path(history)
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            yield decode_document(file.read_bytes())
