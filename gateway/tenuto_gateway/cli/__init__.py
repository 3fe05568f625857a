"""The `tenuto` command.

    serving     `tenuto dev | orchestrator | worker | gateway`: services in the foreground; `tenuto token`
    running     `tenuto run`: one workflow on the embedded default, with live progress
    publishing  `tenuto publish`: start a workflow with the message broker alone
    scheduling  `tenuto schedule …`: what starts workflows again and again
    listing     `tenuto workflow list | show | history`
    checking    `tenuto check`: what in workflow code would not replay
    replaying   `tenuto replay`, `tenuto workflow export`: whether code fits histories
    asking      `tenuto workflow start | wait`
    managing    `tenuto workflow suspend | resume | terminate | purge | rewind | restart | rerun | raise-event`
    queueing    `tenuto queue list`, `tenuto registry`
    graphing    `tenuto graph`: what a workflow's code can call
    admin       `tenuto db …`, `tenuto broker …`
    examining   `tenuto doctor`: what is wrong, and what to do about it

`command` holds what they share: common options, settings, and the one place where errors become exit codes.
Results go to standard output, everything that is said about them to standard error.
"""

from __future__ import annotations

from tenuto_gateway.cli.entry import main

__all__ = ["main"]
