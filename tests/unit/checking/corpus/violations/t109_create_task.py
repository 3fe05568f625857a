from tenuto import App, WorkflowContext
from asyncio import create_task

app = App("corpus")


async def helper() -> None: ...


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    create_task(helper())  # expect T109
    return None
