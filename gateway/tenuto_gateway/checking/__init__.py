"""`tenuto check`: finds in workflow code what would not replay, before it runs.

The app is imported, as every command imports it, and the source of its workflows is read. So a name in the code is not
guessed at but looked up in the function's own globals: `from time import time as t` hides nothing, and neither does a
helper in another module of the project, which is read as well.

    findings    the kinds of findings: code, why it breaks a replay, what to do instead
    forbidden   which names of the standard library and of well-known packages are of which kind
    scope       what a name stands for in one function
    rule        what the rules share: `names`, `calls`, `waiting`, `order`
    checker     all that an app's workflows reach, and the comments that overrule findings
"""

from tenuto_gateway.checking.checker import check
from tenuto_gateway.checking.findings import Finding, Kind

__all__ = ["Finding", "Kind", "check"]
