"""Settings: where they are found, what overrides them, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dp_dagster.errors import SettingsError
from dp_dagster.settings import DEFAULT_LIMITS, Settings


def test_without_a_file_the_defaults_hold(tmp_path):
    settings = Settings.load(tmp_path)
    assert settings.project_root == tmp_path
    assert settings.products == ("products/*",)
    assert settings.storage == str(tmp_path / "data")
    assert settings.state_directory == tmp_path / ".dp"
    assert settings.records_url is None
    assert settings.resolved_records_url == f"sqlite:///{tmp_path}/data/records.db"
    assert settings.contract_cache == tmp_path / ".dp" / "cache" / "contracts"
    assert (settings.environment, settings.lock_timeout, settings.candidate_grace) == (
        "development",
        60,
        86_400,
    )


@pytest.mark.parametrize("name", ["dp_dagster.toml", "pyproject.toml"])
def test_the_file_is_found_on_the_way_up(tmp_path, name):
    text = 'storage = "../published"\nproducts = ["a/*", "b"]\nlock_timeout = 5\n'
    (tmp_path / name).write_text(text if name == "dp_dagster.toml" else f"[tool.dp_dagster]\n{text}")
    inner = tmp_path / "products" / "shops"
    inner.mkdir(parents=True)
    (inner / "pyproject.toml").write_text("[project]\nname = 'shops'\n")  # nothing of ours in it
    for start in (inner, inner / "pyproject.toml"):
        settings = Settings.load(start)
        assert settings.project_root == tmp_path
        assert settings.storage == str(tmp_path.parent / "published")
        assert (settings.products, settings.lock_timeout) == (("a/*", "b"), 5)


def test_the_working_directory_is_where_the_search_starts(tmp_path, monkeypatch):
    (tmp_path / "dp_dagster.toml").write_text('environment = "test"\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert Settings.load().environment == "test"


def test_each_value_can_be_set_by_the_environment(tmp_path, monkeypatch):
    (tmp_path / "dp_dagster.toml").write_text('storage = "data"\nenvironment = "file"\n')
    values = {
        "products": f"a/*{os.pathsep}b",
        "storage": "elsewhere",
        "state_directory": "/var/state",
        "records_url": "postgresql://host/records",
        "environment": "production",
        "lock_timeout": "1.5",
        "candidate_grace": "10",
        "alerts": '{"remind": "PT4H"}',
        "policies": '{"naming": "error"}',
        "alert_interval": "5",
        "alert_retry": "2",
        "silent_after": "60",
        "alert_retention": "86400",
        "ui_url": "https://dagster.example.com",
        "serve_url": "https://data.example.com",
        "oauth2_issuer": "https://id.example.com",
        "oauth2_audience": "products",
        "masks": '{"pii": "hash", "default": null}',
        "limits": '{"page_size": 5}',
        "control": '{"auth": "none"}',
        "openlineage": '{"type": "console"}',
        "serve_patience": "7",
        "serve_threads": "2",
        "serve_memory": "2GB",
        "export_seconds": "30",
        "export_room": "1000000",
        "bucket_room": "2000000",
        "row_store_retention": "60",
        "access_retention_days": "30",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"DP_{name.upper()}", value)
    assert set(values) == set(Settings.model_fields) - {"project_root"}
    settings = Settings.load(tmp_path)
    assert settings.model_dump() == {
        "project_root": tmp_path,
        "products": ("a/*", "b"),
        "storage": str(tmp_path / "elsewhere"),
        "state_directory": Path("/var/state"),
        "records_url": "postgresql://host/records",
        "environment": "production",
        "lock_timeout": 1.5,
        "candidate_grace": 10.0,
        "alerts": {"remind": "PT4H"},
        "policies": {"naming": "error"},
        "alert_interval": 5.0,
        "alert_retry": 2.0,
        "silent_after": 60.0,
        "alert_retention": 86400.0,
        "ui_url": "https://dagster.example.com",
        "serve_url": "https://data.example.com",
        "oauth2_issuer": "https://id.example.com",
        "oauth2_audience": "products",
        "masks": {"pii": "hash", "default": "null"},
        "limits": {**DEFAULT_LIMITS.model_dump(), "page_size": 5},
        "control": {"auth": "none"},
        "openlineage": {"type": "console"},
        "serve_patience": 7.0,
        "serve_threads": 2,
        "serve_memory": "2GB",
        "export_seconds": 30.0,
        "export_room": 1_000_000,
        "bucket_room": 2_000_000,
        "row_store_retention": 60.0,
        "access_retention_days": 30,
    }
    assert settings.resolved_records_url == "postgresql://host/records"


def test_a_file_url_is_a_folder(tmp_path):
    assert Settings(project_root=tmp_path, storage="file:///srv/my%20data").storage == "/srv/my data"


def test_a_storage_in_a_bucket_keeps_records_in_the_state(tmp_path):
    settings = Settings(project_root=tmp_path, storage="s3://bucket/data/")
    assert settings.storage == "s3://bucket/data"
    assert settings.resolved_records_url == f"sqlite:///{tmp_path}/.dp/records.db"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "storag = 'x'\n",
            "storag: unknown key; known keys: products, storage, state_directory, records_url, ",
        ),
        ("project_root = '/'\n", "project_root: unknown key"),
        ("lock_timeout = -1\n", "lock_timeout: Input should be greater than or equal to 0"),
        ("lock_timeout = 'soon'\n", "lock_timeout: Input should be a valid number"),
        ("storage = 5\n", "storage: Input should be a valid string"),
        ("storage = 'gs://bucket'\n", "gs:// is not a storage that can be published to"),
        ("storage = 's3://'\n", "names no bucket"),
        ("storage = 's3://ann:key@bucket'\n", "credentials come from the AWS environment alone"),
        ("storage = ''\n", "storage: Value error, is empty"),
        ("storage\n", "Expected '='"),
    ],
)
def test_what_is_wrong_is_refused_with_the_file(tmp_path, text, said):
    (tmp_path / "dp_dagster.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        Settings.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/dp_dagster.toml: ")
    assert said in str(caught.value)


def test_a_wrong_variable_is_named_and_so_is_a_wrong_section(tmp_path, monkeypatch):
    monkeypatch.setenv("DP_LOCK_TIMEOUT", "soon")
    with pytest.raises(SettingsError, match=r"^environment variable DP_LOCK_TIMEOUT: lock_timeout: "):
        Settings.load(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool]\ndp_dagster = 1\n")
    with pytest.raises(SettingsError, match=r"tool\.dp_dagster: wants a table"):
        Settings.load(tmp_path)


def test_every_setting_is_described():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
