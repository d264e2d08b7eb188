"""Where a bucket is and how it is reached: which source counts, and what never shows."""

import traceback
from pathlib import Path

import pytest

from holdfast.bootstrap.buckets import read_s3_settings
from holdfast.bootstrap.location import Bucket, parse_location
from holdfast.bootstrap.settings import Options, read_storage_settings
from holdfast.core.access import S3Settings
from holdfast.core.bandwidth import Bandwidth
from holdfast.core.errors import DeniedError, NotFoundError, UsageError

KEY = {"HOLDFAST_S3_ACCESS_KEY_ID": "own", "HOLDFAST_S3_SECRET_ACCESS_KEY": "hunter2"}
CREDENTIALS = """\
[default]
aws_access_key_id = of-default
aws_secret_access_key = s1
[other]
aws_access_key_id = of-other
aws_secret_access_key = s2
aws_session_token = t2
"""
CONFIG = """\
[default]
region = eu-north-1
[profile other]
region = eu-west-1
endpoint_url = https://other.example
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(CREDENTIALS)
    (tmp_path / ".aws/config").write_text(CONFIG)
    return {"HOME": str(tmp_path)}


def settings(environment: dict[str, str], url: str = "s3://bucket/prefix") -> S3Settings:
    bucket = parse_location(url)
    assert isinstance(bucket, Bucket)
    return read_s3_settings(bucket, {"HOME": "/nonexistent", **environment})


def key_of(environment: dict[str, str], url: str = "s3://bucket/prefix") -> tuple[str, str, str | None]:
    credentials = settings(environment, url).credentials
    assert credentials is not None
    key = credentials()
    return key.access_key_id, key.secret_access_key, key.session_token


@pytest.mark.parametrize(
    ("url", "bucket"),
    [
        ("s3://b", Bucket(scheme="s3", bucket="b", prefix="")),
        ("s3://b/", Bucket(scheme="s3", bucket="b", prefix="")),
        ("s3://b/some/prefix/", Bucket(scheme="s3", bucket="b", prefix="some/prefix")),
        ("S3://b/with space", Bucket(scheme="s3", bucket="b", prefix="with space")),
        ("s3://site-a@b.c/p", Bucket(scheme="s3", bucket="b.c", prefix="p", profile="site-a")),
        ("gs://b/p", Bucket(scheme="gs", bucket="b", prefix="p")),
        ("az://account/container/p", Bucket(scheme="az", bucket="account", prefix="container/p")),
    ],
)
def test_a_bucket_and_a_prefix_are_a_place(url: str, bucket: Bucket) -> None:
    assert parse_location(url) == bucket
    assert "@" not in bucket.url


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///p", "s3://b//p", "s3://b/../p", "s3://b/p?x=1", "s3://b/a%2fb", "s3://b\0"]
)
def test_what_names_no_bucket_or_no_prefix_that_objects_can_have_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="does not name a bucket") as caught:
        parse_location(url)
    assert caught.value.hint


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        parse_location("s3://key:hunter2@bucket/prefix")
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_our_own_variables_come_first_then_the_tools_then_their_files(home: dict[str, str]) -> None:
    tools = {"AWS_ACCESS_KEY_ID": "tools", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    assert key_of({**home, **tools, **KEY}) == ("own", "hunter2", None)
    assert key_of({**home, **tools}) == ("tools", "s", "t")
    assert key_of(home) == ("of-default", "s1", None)
    assert key_of({**home, "AWS_PROFILE": "other"}) == ("of-other", "s2", "t2")


def test_a_profile_in_the_url_comes_before_the_variables_of_the_tools(home: dict[str, str]) -> None:
    tools = {
        "AWS_ACCESS_KEY_ID": "tools",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "mars",
        "AWS_ENDPOINT_URL": "http://x",
    }
    assert key_of({**home, **tools}, "s3://other@bucket") == ("of-other", "s2", "t2")
    found = settings({**home, **tools}, "s3://other@bucket")
    assert (found.region, found.endpoint) == ("eu-west-1", "https://other.example")
    assert settings({**home, **tools}).region == "mars"
    assert settings({**home, **tools, "HOLDFAST_S3_REGION": "venus"}, "s3://other@bucket").region == "venus"


def test_half_a_key_is_none(home: dict[str, str]) -> None:
    assert key_of({**home, "AWS_ACCESS_KEY_ID": "half"})[0] == "of-default"
    with pytest.raises(DeniedError, match="no credentials"):
        settings({"AWS_ACCESS_KEY_ID": "half"})


def test_a_key_that_is_renewed_in_its_file_is_seen(home: dict[str, str]) -> None:
    credentials = settings(home).credentials
    assert credentials is not None
    assert credentials().access_key_id == "of-default"
    Path(home["HOME"], ".aws/credentials").write_text(CREDENTIALS.replace("of-default", "renewed"))
    assert credentials().access_key_id == "renewed"


def test_without_a_key_the_hint_names_every_way(home: dict[str, str]) -> None:
    with pytest.raises(DeniedError) as caught:
        settings({})
    assert caught.value.code == "no-credentials"
    for word in ("HOLDFAST_S3_ACCESS_KEY_ID", "~/.aws/credentials", "platform"):
        assert word in caught.value.hint


def test_the_platforms_role_is_used_where_it_is_asked_for_or_offered(home: dict[str, str]) -> None:
    assert settings({"HOLDFAST_S3_CREDENTIALS": "platform"}).credentials is None
    assert settings({"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}).credentials is None
    assert key_of({**home, "AWS_WEB_IDENTITY_TOKEN_FILE": "/token"})[0] == "of-default"


@pytest.mark.parametrize(
    ("environment", "path_style"),
    [
        ({}, False),
        ({"HOLDFAST_S3_ENDPOINT": "https://s3.example"}, True),
        ({"HOLDFAST_S3_ENDPOINT": "https://s3.example", "HOLDFAST_S3_ADDRESSING": "virtual"}, False),
        ({"HOLDFAST_S3_ADDRESSING": "path"}, True),
    ],
)
def test_a_service_of_ones_own_is_asked_by_path(environment: dict[str, str], path_style: bool) -> None:  # noqa: FBT001
    assert settings({**KEY, **environment}).path_style is path_style


@pytest.mark.parametrize(
    "environment",
    [
        {"HOLDFAST_S3_ENDPOINT": "s3.example"},
        {"HOLDFAST_S3_ADDRESSING": "sideways"},
        {"HOLDFAST_S3_CREDENTIALS": "magic"},
        {"HOLDFAST_S3_TIMEOUT": "0"},
        {"HOLDFAST_S3_TIMEOUT": "soon"},
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        settings({**KEY, **environment})
    assert caught.value.hint


def test_files_that_are_named_must_be_there_and_make_sense(home: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="profile 'none'"):
        settings(home, "s3://none@bucket")
    with pytest.raises(NotFoundError, match="certificate authority"):
        settings({**KEY, "HOLDFAST_S3_CA_FILE": str(tmp_path / "none")})
    broken = tmp_path / "broken"
    broken.write_text("aws_secret_access_key = hunter2\n")
    with pytest.raises(DeniedError, match="cannot read") as caught:
        settings({"HOLDFAST_S3_CREDENTIALS_FILE": str(broken)})
    assert "hunter2" not in caught.value.hint + "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__suppress_context__


def test_no_representation_shows_a_secret() -> None:
    found = read_storage_settings(Options(repository="s3://b/p"), {"HOME": "/nonexistent", **KEY})
    assert found.s3 is not None
    assert found.s3.credentials is not None
    assert "hunter2" not in repr(found)
    assert "hunter2" not in repr(found.s3.credentials())


@pytest.mark.parametrize(
    ("said", "rate"), [("100", 100), ("20M", 20 << 20), ("1.5MiB/s", 3 << 19), ("500K/s", 500 << 10)]
)
def test_a_bandwidth_is_bytes_a_second_with_a_unit(said: str, rate: int) -> None:
    bandwidth = Bandwidth(rate=rate)
    assert read_storage_settings(Options(repository="/r", limit_rate=said), {}).bandwidth == bandwidth
    variables = {"HOLDFAST_BANDWIDTH": said}
    assert read_storage_settings(Options(repository="/r"), variables).bandwidth == bandwidth
    assert read_storage_settings(Options(repository="/r", limit_rate="7"), variables).bandwidth == Bandwidth(rate=7)
    assert not read_storage_settings(Options(repository="/r", limit_rate="unlimited"), variables).bandwidth.limits


@pytest.mark.parametrize("said", ["fast", "0", "-1", "10 apples", "", " "])
def test_what_is_no_bandwidth_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match="no bandwidth"):
        read_storage_settings(Options(repository="/r", limit_rate=said), {})


def test_a_variable_that_is_set_to_nothing_limits_nothing() -> None:
    assert not read_storage_settings(Options(repository="/r"), {"HOLDFAST_BANDWIDTH": ""}).bandwidth.limits
