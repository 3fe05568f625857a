from tenuto import App, WorkflowContext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid5

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    day = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(days=1)
    return [day.isoformat(), str(Decimal("1.5")), str(uuid5(UUID(int=1), "x"))]
