from tenuto import App, WorkflowContext

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    with open("x") as file:  # expect T105
        return file.read()
