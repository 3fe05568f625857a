"""RabbitMQ, 3.10 through 4.x, by aio-pika's plain connections.

| module | what it is for |
|---|---|
| `broker` | `RabbitBroker`: the verbs of the protocol |
| `link` | one connection that is re-established for ever, with back-off |
| `channel` | one AMQP channel, driven by the connection's reader without tasks of its own |
| `publishing` | pipelined publisher confirms |
| `consuming` | subscriptions |
| `codec` | messages to frames, and frames to deliveries |
| `guard` | keeps what foreign publishers wrote from breaking the connection |

There are two connections, because RabbitMQ stops reading from a connection whose publisher it holds back: one
publishes, the other consumes, declares and inspects (an exclusive queue belongs to the connection that
declared it).

Why channels of our own: aio-pika makes a task for each delivery and takes a lock, a timeout and a future for
each publish, which costs more than all the rest of a message's way through this process. Ours write a window
of messages at once and count confirms; a robust connection, besides, would declare queues anew after a wipe
(rule B1).
"""

from __future__ import annotations

from tenuto.broker.rabbitmq.broker import RabbitBroker

__all__ = ["RabbitBroker"]
