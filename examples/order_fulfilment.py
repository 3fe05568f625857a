"""Order fulfilment: reserve, pay, ship; if a step fails, what was done is undone in reverse order.

    tenuto run examples/order_fulfilment.py fulfil_order --input '{
        "order_id": "17", "items": ["lamp", "desk"], "amount": "129.90", "address": "12 Main Street"}'

Leave the address empty, and nothing can be shipped: the payment is returned, then both reservations are
cancelled.
"""

from dataclasses import dataclass
from decimal import Decimal

from outside_world import OutsideWorld

from tenuto import App, NonRetryableError, RetryPolicy, Saga, WorkflowContext, activity

app = App("orders", retry=RetryPolicy(max_attempts=5, first_interval=0.5))
world = OutsideWorld.from_environment()


@dataclass(frozen=True, kw_only=True)
class Order:
    order_id: str
    items: list[str]
    amount: Decimal
    address: str


@dataclass(frozen=True, kw_only=True)
class Reservation:
    order_id: str
    item: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class Payment:
    order_id: str
    amount: Decimal
    reference: str


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    order_id: str
    payment: str
    parcel: str


@dataclass(frozen=True, kw_only=True)
class ReserveItem:
    order_id: str
    item: str


class AddressUnknownError(NonRetryableError):
    """Nobody lives there; trying again will not help."""


class OrderCancelledError(Exception):
    """The order could not be fulfilled, and everything was undone."""


@app.activity
def reserve_item(request: ReserveItem) -> Reservation:
    reference = _ask(f"reserve {request.item}", request.order_id)
    return Reservation(order_id=request.order_id, item=request.item, reference=reference)


@app.activity
def cancel_reservation(reservation: Reservation) -> None:
    _ask(f"cancel {reservation.reference}", reservation.order_id)


@app.activity(pool="payments")
def charge_card(order: Order) -> Payment:
    # An activity runs at least once: its answer may be lost with the worker. The key is the same every time,
    # so that the payment provider charges once.
    reference = _ask(f"charge {order.amount}", order.order_id)
    return Payment(order_id=order.order_id, amount=order.amount, reference=reference)


@app.activity(pool="payments")
def refund(payment: Payment) -> None:
    _ask(f"refund {payment.reference}", payment.order_id)


@app.activity
def ship(order: Order) -> str:
    if not order.address:
        raise AddressUnknownError(f"order {order.order_id} has no address")
    return _ask("ship", order.order_id)


@app.workflow
async def fulfil_order(ctx: WorkflowContext, order: Order) -> Confirmation:
    try:
        async with Saga(ctx, compensate_on_terminate=True) as saga:
            for item in order.items:
                request = ReserveItem(order_id=order.order_id, item=item)
                reservation = await ctx.call_activity(reserve_item, request)
                saga.add(cancel_reservation, reservation)
            payment = await ctx.call_activity(charge_card, order)
            saga.add(refund, payment)
            parcel = await ctx.call_activity(ship, order)
    except Exception as error:
        raise OrderCancelledError(f"order {order.order_id} was cancelled: {error}") from error
    return Confirmation(order_id=order.order_id, payment=payment.reference, parcel=parcel)


def _ask(what: str, order_id: str) -> str:
    return world.ask(what, order_id=order_id, key=activity.context().idempotency_key)
