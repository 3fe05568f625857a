"""Settings: where they come from, what is refused, and their reference."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from tenuto.errors import SettingsError
from tenuto.settings import (
    ClientSettings,
    OrchestratorSettings,
    Settings,
    WorkerSettings,
    mask_url,
    reference,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without variables of ours and, as working directory, without an `.env`."""
    for name in os.environ:
        if name.upper().startswith("TENUTO_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults() -> None:
    settings = OrchestratorSettings()
    assert (settings.database_url, settings.broker_url) == ("sqlite+aiosqlite:///tenuto.db", "memory://")
    assert (settings.partitions, settings.lease, settings.replay_check) == (16, 4.0, "never")
    assert WorkerSettings().prefetch is None
    assert ClientSettings().poll_interval == 1.0


def test_each_source_overrides_the_ones_below(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    secrets = clean / "secrets"
    secrets.mkdir()
    monkeypatch.setenv("TENUTO_SECRETS_DIR", str(secrets))
    (secrets / "tenuto_broker_url").write_text("amqp://secret\n")
    assert Settings().broker_url == "amqp://secret"
    (clean / ".env").write_text("TENUTO_BROKER_URL=amqp://dotenv\nOTHER=1\n")
    assert Settings().broker_url == "amqp://dotenv"
    (clean / "file").write_text("amqp://file\n")
    monkeypatch.setenv("TENUTO_BROKER_URL_FILE", str(clean / "file"))
    assert Settings().broker_url == "amqp://file"
    monkeypatch.delenv("TENUTO_BROKER_URL_FILE")
    monkeypatch.setenv("TENUTO_BROKER_URL", "amqp://environment")
    assert Settings().broker_url == "amqp://environment"
    assert Settings(broker_url="amqp://argument").broker_url == "amqp://argument"


def test_an_empty_variable_is_as_if_it_were_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENUTO_PREFETCH", "")
    assert WorkerSettings().prefetch is None


def test_values_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENUTO_RESIDENT_BYTES", "3MiB")
    monkeypatch.setenv("TENUTO_LOG_LEVEL", "debug")
    monkeypatch.setenv("tenuto_lease", "2.5")
    settings = OrchestratorSettings()
    assert (settings.resident_bytes, settings.log_level, settings.lease) == (3 * 1024**2, "DEBUG", 2.5)


@pytest.mark.parametrize("settings", [Settings, OrchestratorSettings, WorkerSettings, ClientSettings])
def test_services_share_one_environment(monkeypatch: pytest.MonkeyPatch, settings: type[Settings]) -> None:
    monkeypatch.setenv("TENUTO_PARTITIONS", "8")
    monkeypatch.setenv("TENUTO_CONCURRENCY", "8")
    monkeypatch.setenv("TENUTO_POLL_INTERVAL", "8")
    assert settings().namespace == "tenuto"


def test_a_mistyped_variable_is_refused_with_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENUTO_DATABSE_URL", "x")
    with pytest.raises(
        SettingsError, match=r"TENUTO_DATABSE_URL is unknown\. Did you mean TENUTO_DATABASE_URL\?"
    ):
        WorkerSettings()


def test_a_mistyped_variable_in_env_file_is_refused(clean: Path) -> None:
    (clean / ".env").write_text("tenuto_brokr_url=x\n")
    with pytest.raises(
        SettingsError, match=r"TENUTO_BROKR_URL in \.env is unknown\. Did you mean TENUTO_BROKER_URL\?"
    ):
        Settings()


def test_a_variable_like_no_other_is_refused_with_all_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENUTO_XYZZY", "x")
    with pytest.raises(SettingsError, match=r"Known are: .*TENUTO_BATCH.*TENUTO_SECRETS_DIR"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TENUTO_PORT", "tcp://10.0.0.1:80"),
        ("TENUTO_GATEWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("TENUTO_GATEWAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("TENUTO_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("TENUTO_GATEWAY_SERVICE_PORT_HTTP", "80"),
    ],
)
def test_what_kubernetes_puts_there_is_no_mistake(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    Settings()


def test_a_port_that_is_no_service_link_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENUTO_PORT", "8080")
    with pytest.raises(SettingsError, match="TENUTO_PORT is unknown"):
        Settings()


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"OrchestratorSettings has no setting partitons\. Did you mean partitions"
    ):
        OrchestratorSettings(partitons=3)  # type: ignore[call-arg]  # pyright: ignore  - the mistake


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TENUTO_PARTITIONS", "none"),
        ("TENUTO_PARTITIONS", "0"),
        ("TENUTO_LEASE", "-1"),
        ("TENUTO_LEASE", "nan"),
        ("TENUTO_NAMESPACE", "Ten.uto"),
        ("TENUTO_QUEUE_TYPE", "stream"),
        ("TENUTO_RESIDENT_BYTES", "3 parsecs"),
    ],
)
def test_a_malformed_value_is_one_paragraph_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name} ") as caught:
        OrchestratorSettings()
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_several_malformed_values_are_all_named() -> None:
    with pytest.raises(SettingsError, match=r"TENUTO_PARTITIONS .*TENUTO_BATCH "):
        OrchestratorSettings(partitions=0, batch=0)


def test_a_value_and_a_file_for_the_same_setting_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENUTO_DATABASE_URL", "x")
    monkeypatch.setenv("TENUTO_DATABASE_URL_FILE", "/x")
    with pytest.raises(SettingsError, match="both set"):
        Settings()


def test_files_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    monkeypatch.setenv("TENUTO_DATABASE_URL_FILE", str(clean / "missing"))
    with pytest.raises(
        SettingsError, match=r"TENUTO_DATABASE_URL_FILE names .*missing, which cannot be read: No such"
    ):
        Settings()
    (clean / "missing").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        Settings()
    monkeypatch.delenv("TENUTO_DATABASE_URL_FILE")
    monkeypatch.setenv("TENUTO_SECRETS_DIR", str(clean / "nowhere"))
    with pytest.raises(SettingsError, match=r"TENUTO_SECRETS_DIR names .*nowhere, which is not a directory"):
        Settings()


def test_settings_do_not_change() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.namespace = "other"  # pyright: ignore  - the mistake


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("amqp://ada:s3cret@host:5672/v", "amqp://ada:***@host:5672/v"),
        ("amqp://ada:s3@cret@host", "amqp://ada:***@host"),
        ("amqp://:s3cret@host", "amqp://:***@host"),
        (
            "postgresql+asyncpg:///db?user=ada&password=s3cret&x=1",
            "postgresql+asyncpg:///db?user=ada&password=***&x=1",
        ),
        ("sqlite+aiosqlite:///a@b:c.db", "sqlite+aiosqlite:///a@b:c.db"),
        ("memory://", "memory://"),
    ],
)
def test_passwords_are_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked
    settings = Settings(broker_url=url, database_url=url)
    for text in (repr(settings), str(settings)):
        assert "s3" not in text
        assert masked in text


def test_the_reference_in_the_docs_is_up_to_date() -> None:
    """If this fails: `python -m tenuto.settings > docs/settings.md`."""
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize("settings", [Settings, OrchestratorSettings, WorkerSettings, ClientSettings])
def test_the_reference_names_every_setting(settings: type[Settings]) -> None:
    for name, field in settings.model_fields.items():
        assert f"| `TENUTO_{name.upper()}` |" in reference()
        assert field.description
