"""A staged roll-out over many sites: waves, a watch after each, and a way back.

    tenuto run examples/rollout.py roll_out --input '{
        "version": "2.4", "sites": ["oslo", "bern", "rome", "riga", "cork"], "waves": [1, 2], "seconds_to_watch": 2}'

The first wave is a canary: one site. Each wave is installed side by side, then watched for a while by a monitor of its
own; what is left after the given waves is the last. One site that turns sick (a name that begins with `sick` is) stops
everything, and every site that has the new version gets the old one back, the last first. The custom status shows how
far it is; the event `abort` stops it by hand.
"""

from dataclasses import dataclass, field, replace

from tenuto import App, NonRetryableError, RetryPolicy, Task, WorkflowContext, activity, when_all, when_any

app = App("rollout", retry=RetryPolicy(max_attempts=4, first_interval=1.0))


@dataclass(frozen=True, kw_only=True)
class Rollout:
    version: str
    sites: list[str]
    waves: list[int] = field(default_factory=lambda: [1, 5])
    seconds_to_watch: float = 3600.0
    seconds_between_looks: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Site:
    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Watch:
    sites: list[Site]
    looks: int
    seconds_between: float


@dataclass(frozen=True, kw_only=True)
class Report:
    version: str
    installed: list[str]


class SickSiteError(NonRetryableError):
    """A site does not do well with the new version."""


class RolledBackError(Exception):
    """The roll-out was stopped, and every site has the old version again."""


@app.activity(pool="sites")
async def install(site: Site) -> str:
    """Install a version; returns the one that was there. Doing it twice is doing it once."""
    activity.context().logger.info("%s gets %s", site.name, site.version)
    return "2.3"


@app.activity(pool="sites")
async def is_healthy(site: Site) -> bool:
    return not site.name.startswith("sick")


@app.workflow
async def roll_out(ctx: WorkflowContext, plan: Rollout) -> Report:
    before: list[Site] = []
    abort = ctx.wait_for_external_event("abort")
    try:
        for number, wave in enumerate(waves(plan), 1):
            ctx.set_custom_status({"wave": number, "installed": len(before), "of": len(plan.sites)})
            sites = [Site(name=name, version=plan.version) for name in wave]
            old = await when_all([ctx.call_activity(install, site) for site in sites])
            before += [replace(site, version=version) for site, version in zip(sites, old, strict=True)]
            await watched(ctx, plan, sites, abort)
    except Exception as error:
        ctx.set_custom_status("rolling back")
        for site in reversed(before):
            await ctx.call_activity(install, site)
        raise RolledBackError(f"{plan.version} was rolled back from {len(before)} sites") from error
    return Report(version=plan.version, installed=[site.name for site in before])


async def watched(ctx: WorkflowContext, plan: Rollout, sites: list[Site], abort: Task[None]) -> None:
    """Wait until a wave has done well for long enough."""
    looks = max(1, round(plan.seconds_to_watch / plan.seconds_between_looks))
    seconds = min(plan.seconds_between_looks, plan.seconds_to_watch)
    watching = ctx.call_child_workflow(watch, Watch(sites=sites, looks=looks, seconds_between=seconds))
    if await when_any([watching, abort]) is abort:
        watching.cancel()
        raise SickSiteError("aborted by hand")
    await watching


@app.workflow
async def watch(ctx: WorkflowContext, order: Watch) -> None:
    """Look at the sites again and again; fail as soon as one is sick. Continues as new to keep its history short."""
    await ctx.create_timer(order.seconds_between)
    healthy = await when_all([ctx.call_activity(is_healthy, site) for site in order.sites])
    sick = [site.name for site, well in zip(order.sites, healthy, strict=True) if not well]
    if sick:
        raise SickSiteError(f"sick: {', '.join(sick)}")
    if order.looks > 1:
        ctx.continue_as_new(replace(order, looks=order.looks - 1))


def waves(plan: Rollout) -> list[list[str]]:
    """The sites, in groups of the sizes asked for; the rest is the last group."""
    left, groups = list(plan.sites), []
    for size in plan.waves:
        groups.append(left[:size])
        left = left[size:]
    return [group for group in (*groups, left) if group]
