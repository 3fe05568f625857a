"""Batch document processing: a folder of any size, a window at a time, with a history that stays short.

    tenuto run examples/document_batch.py process_batch --input '{"folder": "docs", "window": 3}'

Each document is read by an activity of its own, `window` of them side by side; after each window the workflow continues
as new with what is left and what was found, so that ten files and a hundred thousand cost the same per file. A document
that cannot be read is reported at the end, and holds nobody up. Run it again with the same `--id` after Ctrl-C: it goes
on with the window that was under way.
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from tenuto import ActivityError, App, NonRetryableError, RetryPolicy, Task, WorkflowContext

app = App("batch", retry=RetryPolicy(max_attempts=3, first_interval=0.5))

TOP = 5


@dataclass(frozen=True, kw_only=True)
class Report:
    documents: int = 0
    words: int = 0
    unreadable: list[str] = field(default_factory=list)
    top: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Batch:
    folder: str
    window: int = 10
    left: list[str] | None = None
    """None: the folder has not been looked at yet."""
    so_far: Report = Report()


@dataclass(frozen=True, kw_only=True)
class Document:
    words: int
    top: list[tuple[str, int]]


class NoTextError(NonRetryableError):
    """The file holds no text; trying again will not help."""


@app.activity(pool="readers")
def list_documents(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())


@app.activity(pool="readers", start_to_close=60.0)
def read_document(path: str) -> Document:
    try:
        words = re.findall(r"[a-z]{5,}", Path(path).read_text(encoding="utf-8").lower())
    except UnicodeDecodeError as error:
        raise NoTextError(f"{path} is no text") from error
    return Document(words=len(words), top=Counter(words).most_common(TOP * 4))


@app.workflow
async def process_batch(ctx: WorkflowContext, batch: Batch) -> Report:
    left = batch.left
    if left is None:
        left = await ctx.call_activity(list_documents, batch.folder)
    window, left = left[: batch.window], left[batch.window :]
    report = batch.so_far
    reading = {path: ctx.call_activity(read_document, path) for path in window}
    for path, task in reading.items():
        report = await counted(report, path, task)
    ctx.set_custom_status({"documents": report.documents, "left": len(left)})
    if left:
        ctx.continue_as_new(replace(batch, left=left, so_far=report))
    return replace(report, top=report.top[:TOP])


async def counted(report: Report, path: str, task: Task[Document]) -> Report:
    try:
        document = await task
    except ActivityError:
        return replace(report, unreadable=[*report.unreadable, path])
    merged = Counter(dict(report.top))
    merged.update(dict(document.top))
    # Ties in the order of the alphabet, so that it is the same on every run.
    top = sorted(merged.items(), key=lambda entry: (-entry[1], entry[0]))
    return replace(
        report, documents=report.documents + 1, words=report.words + document.words, top=top[: TOP * 10]
    )
