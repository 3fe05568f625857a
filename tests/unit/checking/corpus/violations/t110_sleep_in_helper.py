from tenuto import App, WorkflowContext
from time import sleep

app = App("corpus")


def pause() -> None:
    sleep(1)  # expect T110


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    pause()
    return None
