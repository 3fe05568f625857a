"""The pure core: replay and decision, from values to values.

An instance of a workflow is its **history**, a list of events (`events`), and nothing else: what it waits for, what
its code will do next and how it ended all follow from it. The history has two kinds of events. *Commands* are what
the code asked for; *notifications* are what the world answered. The code is a function of the notifications: told
the same in the same order, it asks for the same. So it can be stopped at any await, forgotten, and brought back
elsewhere by telling it everything again (`replay`), where its commands are not carried out but compared.

Two functions do it all (`execution`):

    replay(resolve, instance, run, history) -> Execution      from nothing, for a cold start or a check
    advance(execution, arrivals, now) -> Turn                 one turn further

and the loop around them, which is not here, is

    gather arrivals ─► advance ─► commit turn.events ─► let tasks, timers and letters out ─► acknowledge

The rules of the game:

* **One decides, one records.** Whether an arrival counts is decided from the state alone (`arrivals`, rule N1); the
  state is a fold over the history in which no code has a part (`state`). So a delivery that comes twice finds
  nothing that waits for it.
* **Notifications before commands.** A turn is `TurnStarted`, then each notification, directly followed by the
  commands that the code issued because of it. A replay is one walk along the history (`playback`), a live turn adds
  to it (`turn_builder`); the code cannot tell which it is talking to (`recorder`).
* **Effects follow from events** (`effects`), never from code: so what a crash kept from leaving can leave later.
* **Time, chance and identity come from the history** (`ids`, `context`). There is no clock here, no entropy, no
  input and output, no logging, no event loop.
* **Only what the code lets out fails a workflow.** A mismatch, a foreign awaitable or a bug of ours fails the turn,
  the history stays as it is, and the instance is stalled until code that fits it arrives.

A workflow function is a coroutine or a generator, moved on by `send()` (`driver`), waiting for tasks (`tasks`,
`mailbox`) that it got from its context (`context`, `calls`). A life in states:

             advance                     the code returns, raises
    PENDING ─────────► RUNNING ──────────────────────────────────► COMPLETED, FAILED
       │              ▲  │  │  continue-as-new
       │       resume │  │  └─────────────────► RUNNING, generation + 1, a new history
       │              │  ▼ suspend
       │           SUSPENDED    everything but resume and terminate is recorded, and kept from the code
       └────────────┬────┴────────────────────────────────────────► TERMINATED
                    terminate; needs no code, so a stalled instance takes it too

From bottom to top, each module imports only from those before it: `values`, `commands`, `events`, `letters`, `status`,
`retry`, `turn` (the values); `ids`, `reserved`, `durations`, `isolation`, `locate`, `failures`, `signature`,
`definitions`; `pending`, `fold`, `state`; `mismatch`, `recorder`; `tasks`, `driver`, `mailbox`, `locks`, `calls`,
`patches`, `context`, `saga`, `code`; `effects`, `playback`, `turn_builder`, `arrivals`; `execution`, `rewinding`.
"""
