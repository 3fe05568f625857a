"""Three outside systems, one order: an HTTP service, a database and a queue, each made idempotent by a key.

    tenuto run examples/bookshop.py sell --input '{"order": "17", "isbn": "978-0", "price": "12.50"}'

An activity runs at least once: its worker may die between doing the work and saying so. What keeps the second attempt
from doing it twice differs from system to system, and each of the three ways is here:

* the payment service takes an `Idempotency-Key` header, and answers a key that it knows with what it answered before;
* the database has a unique column for the key, and the insert ignores what is there;
* the queue gets the key as the message's id, and whoever reads it drops what it has seen.

The services are small ones that this file starts for itself, so that it runs on its own: the payment service loses its
first answer on the way, as networks do. `PAYMENTS_URL` and `BOOKS_DB` name others.
"""

import json
import os
import sqlite3
import threading
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tenuto import App, RetryPolicy, WorkflowContext, activity

app = App("bookshop", retry=RetryPolicy(max_attempts=5, first_interval=0.2))


@dataclass(frozen=True, kw_only=True)
class Order:
    order: str
    isbn: str
    price: Decimal


@dataclass(frozen=True, kw_only=True)
class Sale:
    order: Order
    payment: str


@dataclass(frozen=True, kw_only=True)
class Sold:
    payment: str
    row: int
    message: str


@app.activity(pool="payments", start_to_close=10.0)
def charge(order: Order) -> str:
    """HTTP: the provider keeps the key."""
    request = urllib.request.Request(  # noqa: S310 - the URL is the operator's
        f"{payments_url()}/charges",
        data=json.dumps({"order": order.order, "amount": str(order.price)}).encode(),
        headers={"Content-Type": "application/json", "Idempotency-Key": activity.context().idempotency_key},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return str(json.load(answer)["payment"])


@app.activity(pool="books")
def record(sale: Sale) -> int:
    """SQL: a unique column keeps the key."""
    key = activity.context().idempotency_key
    with closing(books()) as database, database:
        database.execute(
            "INSERT INTO sales (key, isbn, payment) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING",
            (key, sale.order.isbn, sale.payment),
        )
        return int(database.execute("SELECT id FROM sales WHERE key = ?", (key,)).fetchone()[0])


@app.activity(pool="books")
def announce(sale: Sale) -> str:
    """A queue: the message's id is the key. Here it is a table; RabbitMQ has `message_id` for it."""
    key = activity.context().idempotency_key
    with closing(books()) as database, database:
        body = json.dumps({"sold": sale.order.isbn})
        database.execute("INSERT OR IGNORE INTO queue (message_id, body) VALUES (?, ?)", (key, body))
    return key


@app.workflow
async def sell(ctx: WorkflowContext, order: Order) -> Sold:
    payment = await ctx.call_activity(charge, order)
    sale = Sale(order=order, payment=payment)
    row = await ctx.call_activity(record, sale)
    message = await ctx.call_activity(announce, sale)
    return Sold(payment=payment, row=row, message=message)


# The outside world ------------------------------------------------------------------------------------------------


def books() -> sqlite3.Connection:
    database = sqlite3.connect(os.environ.get("BOOKS_DB", "bookshop.db"), timeout=10)
    database.execute(
        "CREATE TABLE IF NOT EXISTS sales (id INTEGER PRIMARY KEY, key TEXT UNIQUE, isbn TEXT, payment TEXT)"
    )
    database.execute("CREATE TABLE IF NOT EXISTS queue (message_id TEXT PRIMARY KEY, body TEXT)")
    return database


class Payments(BaseHTTPRequestHandler):
    """A payment provider. It charges, and then loses its first answer."""

    charges: dict[str, str] = {}  # noqa: RUF012 - the provider's books
    lost: set[str] = set()  # noqa: RUF012
    lock = threading.Lock()

    def do_POST(self) -> None:
        key = self.headers["Idempotency-Key"]
        with self.lock:
            payment = self.charges.setdefault(key, f"payment-{len(self.charges) + 1}")
            lose = key not in self.lost
            self.lost.add(key)
        if lose:
            self.close_connection = True  # the money has moved, and nobody is told
            return
        body = json.dumps({"payment": payment}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Quiet."""


_starting = threading.Lock()
_own: list[str] = []


def payments_url() -> str:
    """Where the payment provider is: `PAYMENTS_URL`, or one of this process's own."""
    given = os.environ.get("PAYMENTS_URL")
    if given:
        return given
    with _starting:
        if not _own:
            server = ThreadingHTTPServer(("127.0.0.1", 0), Payments)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            _own.append(f"http://127.0.0.1:{server.server_port}")
        return _own[0]
