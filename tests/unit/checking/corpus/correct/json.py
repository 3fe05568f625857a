from tenuto import App, WorkflowContext
import json
import re
import math
import hashlib

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    text = json.dumps(data, sort_keys=True)
    return [re.sub("a", "b", text), math.ceil(1.5), hashlib.sha256(text.encode()).hexdigest()]
