"""Long work over HTTP: start it, get 202 with `Location`, and ask there until it is done.

    tenuto dev examples/async_http.py                    # prints where its HTTP API is

and from another terminal, with nothing but HTTP

    curl -i -X POST 'http://127.0.0.1:8420/api/v1/instances?wait=false' \
        -d '{"workflow": "transcribe", "input": {"recording": "talk.ogg", "minutes": 3}}'
    curl -i 'http://127.0.0.1:8420<Location>'            # 202 while it works, 200 when it has ended

or as a program: `python examples/async_http.py http://127.0.0.1:8420`. The same works from any language: any number of
callers may wait, and may lose their connections as they please.
"""

import asyncio
import json
import sys
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from tenuto import App, WorkflowContext

app = App("transcripts")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    recording: str
    minutes: int


@app.activity
async def transcribe_minute(minute: int) -> str:
    await asyncio.sleep(0.2)  # a model at work
    return f"words of minute {minute}"


@app.workflow
async def transcribe(ctx: WorkflowContext, wanted: Wanted) -> list[str]:
    words = []
    for minute in range(wanted.minutes):
        words.append(await ctx.call_activity(transcribe_minute, minute))
        ctx.set_custom_status({"done": minute + 1, "of": wanted.minutes})
    return words


def ask(url: str, body: Any = None) -> tuple[int, str | None, Any]:
    """A request: the answer's status, where to look next, and its document."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data=data, timeout=60) as answer:  # noqa: S310  a URL of ours
        return answer.status, answer.headers.get("Location"), json.load(answer)


def run(gateway: str, recording: str, minutes: int) -> Any:
    """Have a recording transcribed, over HTTP alone."""
    wanted = {"workflow": "transcribe", "input": {"recording": recording, "minutes": minutes}}
    status, location, document = ask(urljoin(gateway, "/api/v1/instances?wait=false"), wanted)
    while status == 202 and location is not None:  # noqa: PLR2004  accepted, and not done yet
        print(f"{document['instance_id']} is under way")
        status, location, document = ask(urljoin(gateway, location))  # answers when it ends, or after a while
    return document


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], "talk.ogg", 3), indent=2))
