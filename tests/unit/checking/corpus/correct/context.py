from tenuto import App, WorkflowContext
from datetime import timedelta

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    now = ctx.current_utc_datetime
    ctx.logger.info("at %s", now)
    await ctx.create_timer(now + timedelta(days=1))
    return [ctx.random.random(), str(ctx.new_uuid())]
