"""A research assistant: validate, search several places at once, synthesise, ask a person when in doubt, deliver.

    tenuto run examples/research_assistant.py research --input '{
        "question": "What happens to a timer when its event comes first?", "sources": ["docs", "README.md"]}'

The sources are files and folders of text: this project's own documentation will do. Each is searched by an activity of
its own; one that cannot be read costs its part of the answer, not the answer. How much of the question the findings
cover is the confidence; below `threshold` a person decides (the event `review`: approve, or ask something else), for as
long as a day. Where a language model belongs, put it in `synthesise`: an activity may be slow, and may fail.
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from tenuto import ActivityError, App, NonRetryableError, RetryPolicy, WorkflowContext, activity, when_all

app = App("research", retry=RetryPolicy(max_attempts=3, first_interval=0.5))

COMMON = re.compile(
    "an?|and|are|as|at|be|but|by|do|does|for|from|has|have|how|if|in|is|its?|of|on|or|that|the|this|to|was|what|when|"
    "where|which|who|why|will|with|you"
)


@dataclass(frozen=True, kw_only=True)
class Question:
    question: str
    sources: list[str]
    threshold: float = 0.6
    asked: int = 1


@dataclass(frozen=True, kw_only=True)
class Search:
    words: list[str]
    source: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    where: str
    text: str
    words: list[str]
    """Those of the question that it has."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    words: list[str]
    findings: list[Finding]


@dataclass(frozen=True, kw_only=True)
class Answer:
    text: str
    confidence: float
    sources: list[str] = field(default_factory=list)
    reviewed_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Review:
    """The payload of the event `review`."""

    by: str
    approved: bool
    ask_instead: str | None = None


class NoQuestionError(NonRetryableError):
    """There is nothing to search for."""


@app.activity
async def validate(question: str) -> list[str]:
    """The words to search for."""
    words = [word for word in re.findall(r"[a-z][a-z-]+", question.lower()) if not COMMON.fullmatch(word)]
    if not words:
        raise NoQuestionError(f"{question!r} asks for nothing")
    return list(dict.fromkeys(words))


@app.activity(pool="search", start_to_close=30.0)
def search(order: Search) -> list[Finding]:
    place = Path(order.source)
    files = sorted(place.rglob("*.md")) if place.is_dir() else [place]
    found: list[Finding] = []
    for file in files:
        for paragraph in file.read_text(encoding="utf-8").split("\n\n"):
            hits = [word for word in order.words if word in paragraph.lower()]
            if hits:
                found.append(Finding(where=str(file), text=" ".join(paragraph.split()), words=hits))
    return sorted(found, key=lambda finding: -len(finding.words))[:5]


@app.activity
async def synthesise(evidence: Evidence) -> Answer:
    best = sorted(evidence.findings, key=lambda finding: -len(finding.words))[:3]
    covered = Counter(word for finding in best for word in finding.words)
    return Answer(
        text="\n\n".join(finding.text for finding in best) or "Nothing was found.",
        confidence=round(len(covered) / len(evidence.words), 2),
        sources=list(dict.fromkeys(finding.where for finding in best)),
    )


@app.activity
async def deliver(answer: Answer) -> None:
    activity.context().logger.info("%s", answer.text)


@app.workflow
async def research(ctx: WorkflowContext, question: Question) -> Answer:
    words = await ctx.call_activity(validate, question.question)
    searches = [ctx.spawn(searched(ctx, Search(words=words, source=source))) for source in question.sources]
    findings = [finding for found in await when_all(searches) for finding in found]
    answer = await ctx.call_activity(synthesise, Evidence(words=words, findings=findings))
    ctx.set_custom_status({"confidence": answer.confidence, "asked": question.asked})
    if answer.confidence < question.threshold:
        review = await reviewed(ctx, answer)
        if review.ask_instead is not None:
            ctx.continue_as_new(replace(question, question=review.ask_instead, asked=question.asked + 1))
            return answer
        if not review.approved:
            return replace(answer, text="Nothing that can be relied on was found.", reviewed_by=review.by)
        answer = replace(answer, reviewed_by=review.by)
    await ctx.call_activity(deliver, answer)
    return answer


async def searched(ctx: WorkflowContext, order: Search) -> list[Finding]:
    """One source; whatever is wrong with it, the others count."""
    try:
        return await ctx.call_activity(search, order)
    except ActivityError as error:
        ctx.logger.warning("%s cannot be searched: %s", order.source, error)
        return []


async def reviewed(ctx: WorkflowContext, answer: Answer) -> Review:
    ctx.set_custom_status({"confidence": answer.confidence, "waiting_for": "review"})
    try:
        return await ctx.wait_for_external_event("review", timeout=timedelta(days=1), type=Review)
    except TimeoutError:
        return Review(by="deadline", approved=False)
