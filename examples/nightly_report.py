"""A schedule: a report each night, at three o'clock in Berlin, summer and winter.

    tenuto dev examples/nightly_report.py

and from another terminal

    tenuto schedule create nightly report --cron "0 3 * * *" --time-zone Europe/Berlin --input '{"shop": "lamps"}'
    tenuto schedule show nightly
    tenuto schedule trigger nightly          # not to wait until three
    tenuto workflow list --tag tenuto.schedule=nightly

Two reports of one shop would get in each other's way, however they were started, so each takes the shop's lock.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from tenuto import App, RetryPolicy, WorkflowContext

app = App("reports", retry=RetryPolicy(max_attempts=5))


@dataclass(frozen=True, kw_only=True)
class Wanted:
    shop: str


@dataclass(frozen=True, kw_only=True)
class Day:
    shop: str
    day: date


@app.activity
def count_orders(day: Day) -> int:
    return 100 + day.day.day + len(day.shop)


@app.activity
def send_report(text: str) -> None:
    print(text)


@app.workflow
async def report(ctx: WorkflowContext, wanted: Wanted) -> str:
    yesterday = (ctx.current_utc_datetime - timedelta(days=1)).date()
    async with ctx.lock(f"report-{wanted.shop}", timeout=timedelta(hours=1)):
        orders = await ctx.call_activity(count_orders, Day(shop=wanted.shop, day=yesterday))
        text = f"{wanted.shop}: {orders} orders"
        await ctx.call_activity(send_report, text)
    return text
