from tenuto import App, WorkflowContext

app = App("corpus")


class State:
    count = 0


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    State.count = 3  # expect T111
    return None
