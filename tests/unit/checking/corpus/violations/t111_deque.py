from tenuto import App, WorkflowContext
from collections import deque

app = App("corpus")

queue: deque[int] = deque()


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    queue.appendleft(1)  # expect T111
    return None
