r"""Fan-out and fan-in: every page of a document is read at the same time, then the results are put together.

    tenuto run examples/document_pages.py index_document --input '{
        "title": "A tale", "text": "It was the best of times,\fit was the worst of times."}'

Pages are divided by form feeds. Each is an activity of its own: they run in parallel on as many workers as
there are, each is tried again by itself when it fails, and a page that is done stays done whatever becomes of
the others.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import chain

from tenuto import App, RetryPolicy, WorkflowContext, when_all

app = App("documents", retry=RetryPolicy(max_attempts=3))


@dataclass(frozen=True, kw_only=True)
class Document:
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Page:
    number: int
    text: str


@dataclass(frozen=True, kw_only=True)
class PageIndex:
    number: int
    words: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Index:
    title: str
    pages: int
    words: int
    found_on: dict[str, list[int]]
    """For each word, the pages that have it."""


@app.activity
def split(document: Document) -> list[Page]:
    pages = document.text.split("\f")
    return [Page(number=number, text=text) for number, text in enumerate(pages, start=1)]


@app.activity(pool="readers")
def read_page(page: Page) -> PageIndex:
    words = ("".join(filter(str.isalnum, word)).casefold() for word in page.text.split())
    return PageIndex(number=page.number, words=Counter(filter(None, words)))


@app.workflow
async def index_document(ctx: WorkflowContext, document: Document) -> Index:
    pages = await ctx.call_activity(split, document)
    indexes = await when_all([ctx.call_activity(read_page, page) for page in pages])
    return merge(document.title, indexes)


def merge(title: str, indexes: list[PageIndex]) -> Index:
    """Plain computation may stand in the workflow: it gives the same every time."""
    words = sorted(set(chain.from_iterable(index.words for index in indexes)))
    return Index(
        title=title,
        pages=len(indexes),
        words=sum(sum(index.words.values()) for index in indexes),
        found_on={word: [index.number for index in indexes if word in index.words] for word in words},
    )
