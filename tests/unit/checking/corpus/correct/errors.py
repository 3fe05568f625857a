from tenuto import App, WorkflowContext
from tenuto import ActivityError

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    try:
        return await ctx.call_activity(act, 1)
    except ActivityError as error:
        ctx.logger.warning("failed: %s", error)
        raise
    except Exception:
        return None
