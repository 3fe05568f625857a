"""The style of Dapr's Python SDK: workflows are generators that yield tasks, activities take `(ctx, input)`.

    tenuto run examples/dapr_style.py order_processing_workflow --input '{
        "item": "cars", "quantity": 3, "cost": 450}'

Code that was written for Dapr runs with only its imports and decorators changed: `@wfr.workflow(name=…)` is
now `@app.workflow(name=…)`, and `@wfr.activity(name=…)` is `@app.activity(name=…)`. The bodies stay as they
are.
"""

from datetime import timedelta
from typing import Any

from tenuto import App, WorkflowContext, when_any
from tenuto.activity import ActivityContext

app = App("dapr-style")

INVENTORY = {"cars": 10, "paperclips": 100}
NEEDS_APPROVAL = 1000


@app.workflow(name="order_processing_workflow")
def order_processing_workflow(ctx: WorkflowContext, order: dict[str, Any]) -> Any:
    order_id = ctx.instance_id
    yield ctx.call_activity(notify, input=f"Received order {order_id}: {order['quantity']} {order['item']}")
    available = yield ctx.call_activity(verify_inventory, input=order)
    if not available:
        yield ctx.call_activity(notify, input=f"Not enough {order['item']} for order {order_id}")
        return {"processed": False}
    if order["cost"] > NEEDS_APPROVAL:
        approval = ctx.wait_for_external_event("approval_event")
        timeout = ctx.create_timer(timedelta(seconds=order.get("seconds_to_approve", 86_400)))
        winner = yield when_any([approval, timeout])
        if winner == timeout:
            yield ctx.call_activity(notify, input=f"Order {order_id} was not approved in time")
            return {"processed": False}
        if not approval.get_result()["approval"]:
            return {"processed": False}
    yield ctx.call_activity(process_payment, input=order)
    yield ctx.call_activity(notify, input=f"Order {order_id} has completed")
    return {"processed": True}


@app.activity(name="notify")
def notify(ctx: ActivityContext, message: str) -> None:
    ctx.logger.info("%s", message)


@app.activity(name="verify_inventory")
def verify_inventory(ctx: ActivityContext, order: dict[str, Any]) -> bool:
    ctx.logger.info("verifying %s for %s", order["item"], ctx.workflow_id)
    return INVENTORY.get(order["item"], 0) >= order["quantity"]


@app.activity(name="process_payment")
def process_payment(ctx: ActivityContext, order: dict[str, Any]) -> None:
    ctx.logger.info("charging %s for %s, task %s", order["cost"], ctx.workflow_id, ctx.task_id)
