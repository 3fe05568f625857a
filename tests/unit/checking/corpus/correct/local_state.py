from tenuto import App, WorkflowContext

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    seen = []
    seen.append(1)
    totals = {}
    totals["x"] = 1
    count = 0
    count += 1
    return [seen, totals, count]
