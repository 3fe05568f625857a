"""Names that workflow code must not use, by kind.

An entry names a function, a class or a constant by its full dotted name, or a whole module or package by `name.*`. The
longest entry that fits decides.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tenuto_gateway.checking.findings import Kind

__all__ = ["kind_of", "name_by_identity", "remedy_of"]

_NAMES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.CLOCK: """
            time.time time.time_ns time.monotonic time.monotonic_ns time.perf_counter time.perf_counter_ns
            time.process_time time.process_time_ns time.thread_time time.localtime time.gmtime time.ctime
            time.asctime time.strftime
            datetime.datetime.now datetime.datetime.utcnow datetime.datetime.today datetime.date.today
            pendulum.now pendulum.today arrow.now arrow.utcnow
        """,
        Kind.RANDOM: """
            random.* secrets.* os.urandom os.getrandom numpy.random.*
        """,
        Kind.UUID: "uuid.uuid1 uuid.uuid4 uuid.uuid6 uuid.uuid7 uuid.getnode",
        Kind.ENVIRONMENT: """
            os.environ os.environb os.getenv os.getenvb os.getcwd os.getpid os.getppid os.uname os.cpu_count
            os.getlogin os.getuid sys.argv sys.stdin sys.platform sys.version sys.version_info platform.*
            locale.* getpass.* builtins.input socket.gethostname socket.getfqdn
        """,
        Kind.FILE: """
            builtins.open io.open os.listdir os.scandir os.walk os.remove os.unlink os.rename os.replace
            os.mkdir os.makedirs os.rmdir os.removedirs os.stat os.lstat os.open os.read os.write os.chmod
            os.chdir os.link os.symlink os.access os.truncate os.path.exists os.path.isfile os.path.isdir
            os.path.getsize os.path.getmtime os.path.getctime os.path.realpath os.path.abspath
            shutil.* tempfile.* glob.* fileinput.* aiofiles.* zipfile.ZipFile tarfile.open
            pathlib.Path.open pathlib.Path.read_text pathlib.Path.read_bytes pathlib.Path.write_text
            pathlib.Path.write_bytes pathlib.Path.exists pathlib.Path.is_file pathlib.Path.is_dir
            pathlib.Path.iterdir pathlib.Path.glob pathlib.Path.rglob pathlib.Path.stat pathlib.Path.unlink
            pathlib.Path.mkdir pathlib.Path.rmdir pathlib.Path.touch pathlib.Path.rename pathlib.Path.replace
            pathlib.Path.resolve pathlib.Path.cwd pathlib.Path.home
        """,
        Kind.NETWORK: """
            socket.* ssl.* urllib.request.* http.client.* ftplib.* smtplib.* imaplib.* poplib.* telnetlib.*
            xmlrpc.client.* requests.* httpx.* aiohttp.* urllib3.* httpcore.* websockets.* grpc.* boto3.*
            botocore.* sqlite3.* _sqlite3.* psycopg.* psycopg2.* asyncpg.* aiosqlite.* pymysql.* redis.* pymongo.*
            pika.* aio_pika.* kafka.* sqlalchemy.create_engine sqlalchemy.ext.asyncio.create_async_engine
            sqlalchemy.engine.* sqlalchemy.orm.*
        """,
        Kind.THREAD: """
            threading.* _thread.* concurrent.futures.* queue.Queue queue.LifoQueue queue.PriorityQueue
            queue.SimpleQueue
        """,
        Kind.PROCESS: """
            subprocess.* multiprocessing.* os.system os.popen os.fork os.forkpty os.kill os.execv os.execve
            os.execvp os.spawnl os.spawnv os.posix_spawn signal.* pty.* builtins.exit builtins.quit sys.exit
            os._exit os.abort
        """,
        Kind.ASYNCIO: "asyncio.* anyio.* trio.* curio.*",
        Kind.SLEEP: "time.sleep",
        Kind.IDENTITY: "builtins.id builtins.hash",
        Kind.OUTPUT: """
            builtins.print sys.stdout sys.stderr logging.debug logging.info logging.warning logging.error
            logging.exception logging.critical logging.log logging.Logger.debug logging.Logger.info
            logging.Logger.warning logging.Logger.error logging.Logger.exception logging.Logger.critical
            logging.Logger.log pprint.pprint pprint.pp warnings.warn
        """,
    }
)

_ALLOWED = frozenset({"random.Random"})
"""What an entry for a whole module would forbid: what is seeded repeats."""

_ASYNCIO_REMEDIES = MappingProxyType(
    {
        "sleep": "await ctx.create_timer(…)",
        "gather": "await when_all([…])",
        "wait": "await when_any([…]) or when_all([…])",
        "wait_for": "await when_any([task, ctx.create_timer(…)])",
        "timeout": "await when_any([task, ctx.create_timer(…)])",
        "create_task": "use ctx.spawn(…)",
        "ensure_future": "use ctx.spawn(…)",
        "TaskGroup": "use ctx.spawn(…) and when_all([…])",
        "Lock": "use ctx.lock(…), or nothing: branches of a workflow switch only where they wait",
        "Event": "use ctx.wait_for_external_event(…), or await a task",
        "Queue": "use a list; or ctx.wait_for_external_event(…) for what comes from outside",
        "to_thread": "do it in an activity",
        "run": "await the coroutine itself",
    }
)


@functools.cache
def _table() -> Mapping[str, Kind]:
    return {name: kind for kind, names in _NAMES.items() for name in names.split()}


def kind_of(name: str) -> Kind | None:
    """What is wrong with using the thing of this dotted name; None: nothing."""
    table = _table()
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        stem = ".".join(parts[:length])
        if stem in _ALLOWED:
            return None
        # A class or constant that is forbidden is so with all that hangs on it.
        found = table.get(stem) or table.get(f"{stem}.*")
        if found is not None:
            return found
    return None


def remedy_of(name: str, kind: Kind) -> str:
    """What to do instead."""
    if kind is Kind.ASYNCIO:
        return _ASYNCIO_REMEDIES.get(name.rpartition(".")[2], kind.remedy)
    return kind.remedy


def name_by_identity(thing: Any) -> str | None:
    """The entry's name of an object that was imported on its own, where it does not tell its name itself."""
    for name in _table():
        module, _, attribute = name.rpartition(".")
        loaded = sys.modules.get(module)
        if loaded is not None and attribute != "*" and getattr(loaded, attribute, None) is thing:
            return name
    # Functions such as `random.choice` are methods of an object that the module keeps to itself.
    owner = getattr(thing, "__self__", None)
    if owner is not None and type(owner).__module__ == "random":
        return f"random.{getattr(thing, '__name__', '')}"
    return None
