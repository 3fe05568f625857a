from tenuto import App, WorkflowContext
import random

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    rng = random.Random(data["seed"])
    return rng.choice([1, 2, 3])
