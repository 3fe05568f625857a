"""A monitor that runs for ever: it checks a site, sleeps durably, and continues as new.

    tenuto dev examples/monitor.py

and, from another terminal:

    from tenuto import SyncClient

    with SyncClient() as client:
        client.start("watch_site", {"url": "https://example.com", "interval": 60}, instance_id="example.com")

`tenuto workflow show example.com` tells how it stands. The event `stop` ends it; for a trial, so does
`checks_left`:

    tenuto run examples/monitor.py watch_site --input '{
        "url": "https://example.com", "interval": 1, "checks_left": 3}'
"""

import asyncio
import urllib.error
import urllib.request
from dataclasses import dataclass, replace

from tenuto import App, RetryPolicy, WorkflowContext, activity

app = App("monitor", retry=RetryPolicy(max_attempts=3))

_TIMEOUT = 10.0


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What the monitor carries from one generation to the next: all that it must remember."""

    url: str
    interval: float = 60.0
    """Seconds between checks."""
    checks_left: int | None = None
    """None: for ever."""
    checks: int = 0
    up: bool | None = None
    """How it was found the last time; None before the first."""
    changes: int = 0


@dataclass(frozen=True, kw_only=True)
class Change:
    url: str
    up: bool


@app.activity(start_to_close=3 * _TIMEOUT)
async def check(url: str) -> bool:
    """Whether the site answers. That it does not is a result, not a failure of the activity."""
    return await asyncio.to_thread(_answers, url)


@app.activity
async def alert(change: Change) -> None:
    activity.context().logger.warning("%s is %s", change.url, "up again" if change.up else "DOWN")


@app.workflow
async def watch_site(ctx: WorkflowContext, watch: Watch) -> Watch:
    up = await ctx.call_activity(check, watch.url)
    if watch.up is not None and up != watch.up:
        await ctx.call_activity(alert, Change(url=watch.url, up=up))
        watch = replace(watch, changes=watch.changes + 1)
    left = None if watch.checks_left is None else watch.checks_left - 1
    watch = replace(watch, up=up, checks=watch.checks + 1, checks_left=left)
    ctx.set_custom_status({"up": up, "checks": watch.checks, "changes": watch.changes})
    if left != 0 and not await told_to_stop(ctx, watch.interval):
        ctx.continue_as_new(watch)
    return watch


async def told_to_stop(ctx: WorkflowContext, seconds: float) -> bool:
    """Sleep, durably, unless the event `stop` comes first."""
    try:
        await ctx.wait_for_external_event("stop", timeout=seconds)
    except TimeoutError:
        return False
    return True


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:  # noqa: S310  whatever the user wants watched
            return bool(response.status < 500)  # noqa: PLR2004  5xx: it answers, but not well
    except urllib.error.HTTPError as error:
        return error.code < 500  # noqa: PLR2004  as above
    except OSError:
        return False
