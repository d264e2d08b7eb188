"""An object store that fails: the real one, behind a proxy that throttles, breaks connections and loses answers."""

import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from holdfast.core.access import S3Credentials
from holdfast.core.errors import DeniedError, HoldfastError, NotFoundError
from holdfast.repository import create_repository
from holdfast.repository.storage.objects import ObjectStorage
from holdfast.repository.storage.patience import Patience
from holdfast.repository.storage.port import (
    ObjectExistsError,
    ObjectMissingError,
    StorageError,
    StorageUnreachableError,
)
from tests.e2e.command import PASSPHRASE, Site
from tests.support.repositories import CHEAP
from tests.testbed.objectstore import ObjectStore, User
from tests.testbed.proxy import Answer, Exchange, Fault, Proxy, cut, dropped, garbled, lost, proxy, refused

NAME = "log/000000000007"
MIB = 1 << 20


@pytest.fixture
def between(s3: ObjectStore) -> Iterator[Proxy]:
    with proxy(s3.endpoint) as running:
        yield running


@pytest.fixture
def bucket(s3: ObjectStore) -> str:
    return s3.new_bucket()


@pytest.fixture
def direct(s3: ObjectStore, bucket: str) -> ObjectStorage:
    """What really stands in the bucket."""
    return s3.storage(bucket, "p")


def patient() -> Patience:
    """Tries again as often as ever, and at once."""
    return Patience(sleep=lambda _pause: None)


@pytest.fixture
def storage(s3: ObjectStore, bucket: str, between: Proxy) -> ObjectStorage:
    return s3.storage(bucket, "p", endpoint=between.endpoint, patience=patient())


# --- what passes by itself --------------------------------------------------------------------------------------------

PASSING = {
    "throttled": refused(503, "SlowDown"),
    "too many": refused(429),
    "in trouble": refused(500, "InternalError"),
    "bad gateway": refused(502),
    "too slow": refused(400, "RequestTimeout"),
    "dropped": dropped,
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_passing_trouble_is_sat_out(
    storage: ObjectStorage, direct: ObjectStorage, between: Proxy, fault: Fault
) -> None:
    with between.failing(fault, method="PUT", times=4):
        storage.put(NAME, [b"con", b"tent"])
    assert direct.get(NAME) == b"content"
    with between.failing(fault, method="GET", part=NAME, times=4):
        assert storage.get(NAME) == b"content"
    with between.failing(fault, method="HEAD"):
        assert storage.size(NAME) == 7
    with between.failing(fault, method="GET", part="list-type", times=4):
        assert list(storage.list("log/")) == [(NAME, 7)]
    with between.failing(fault, method="POST", part="delete", times=4):
        storage.delete(NAME)
    assert list(direct.list("")) == []


def test_an_answer_cut_off_in_the_middle_is_asked_for_again(
    storage: ObjectStorage, direct: ObjectStorage, between: Proxy
) -> None:
    content = random.Random(1).randbytes(MIB)
    direct.put(NAME, [content])
    with between.failing(cut, method="GET", part=NAME, times=2):
        assert storage.get(NAME) == content
    buffer = bytearray(1000)
    with between.failing(cut, method="GET", part=NAME, times=2):
        storage.read_into(NAME, 5000, memoryview(buffer))
    assert buffer == content[5000:6000]


def test_bytes_that_arrive_wrong_are_refused_by_the_store_and_sent_again(
    storage: ObjectStorage, direct: ObjectStorage, between: Proxy
) -> None:
    with between.failing(garbled, method="PUT", times=2):
        storage.put(NAME, [b"content"])
    assert direct.get(NAME) == b"content"


@pytest.fixture(scope="module")
def many(s3: ObjectStore) -> tuple[str, list[str]]:
    """A bucket whose listing takes two answers, and the names below packs/ in it."""
    bucket = s3.new_bucket()
    storage = s3.storage(bucket, "p")
    names = [f"packs/{number % 256:02x}/{number:06}" for number in range(1100)]
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda name: storage.put(name, [b"x"]), ["log/1", *names]))
    return bucket, sorted(names)


@pytest.mark.parametrize("fault", [cut, dropped, refused(503, "SlowDown")], ids=["cut", "dropped", "throttled"])
@pytest.mark.parametrize("where", ["list-type", "continuation-token"])
def test_a_listing_that_breaks_goes_on_where_it_was(
    s3: ObjectStore, many: tuple[str, list[str]], between: Proxy, fault: Fault, where: str
) -> None:
    bucket, names = many
    storage = s3.storage(bucket, "p", endpoint=between.endpoint, patience=patient())
    with between.failing(fault, method="GET", part=where):
        assert [stored.name for stored in storage.list("packs/")] == names


# --- what is not known ------------------------------------------------------------------------------------------------


def test_a_put_whose_answer_was_lost_is_our_own_success(
    storage: ObjectStorage, direct: ObjectStorage, between: Proxy
) -> None:
    with between.failing(lost, method="PUT"):
        storage.put(NAME, [b"content"])
    assert list(direct.list("")) == [(NAME, 7)]


def test_a_put_whose_answer_was_lost_is_no_success_if_somebody_else_had_won(
    storage: ObjectStorage, direct: ObjectStorage, between: Proxy
) -> None:
    direct.put(NAME, [b"others!"])
    with between.failing(lost, method="PUT"), pytest.raises(ObjectExistsError, match=NAME):
        storage.put(NAME, [b"content"])
    assert direct.get(NAME) == b"others!"


def test_a_delete_whose_answer_was_lost_is_done(storage: ObjectStorage, direct: ObjectStorage, between: Proxy) -> None:
    direct.put(NAME, [b"content"])
    with between.failing(lost, method="POST"):
        storage.delete(NAME)
    assert list(direct.list("")) == []


def test_a_name_said_to_be_taken_while_another_put_is_under_way_is_tried_again(
    storage: ObjectStorage, direct: ObjectStorage, between: Proxy
) -> None:
    with between.failing(refused(409, "ConditionalRequestConflict"), method="PUT", times=3):
        storage.put(NAME, [b"content"])
    assert direct.get(NAME) == b"content"


def test_a_404_that_does_not_say_it_is_the_stores_is_not_the_end_of_the_log(
    storage: ObjectStorage, direct: ObjectStorage, between: Proxy
) -> None:
    direct.put(NAME, [b"content"])
    with between.failing(refused(404), method="GET"), pytest.raises(StorageError) as caught:
        storage.get(NAME)
    assert not isinstance(caught.value, ObjectMissingError)
    with between.failing(refused(404), method="HEAD"):
        assert storage.size(NAME) == 7


# --- what does not pass -----------------------------------------------------------------------------------------------


def test_a_store_that_stays_in_trouble_is_given_up_in_time(s3: ObjectStore, bucket: str, between: Proxy) -> None:
    now = [0.0]

    def sleep(pause: float) -> None:
        now[0] += pause

    patience = Patience(total_s=300, sleep=sleep, clock=lambda: now[0])
    storage = s3.storage(bucket, "p", endpoint=between.endpoint, patience=patience)
    between.anything = refused(503, "SlowDown")
    with pytest.raises(StorageUnreachableError, match="503 SlowDown") as caught:
        storage.get(NAME)
    assert caught.value.exit_status == 7
    assert 250 < now[0] <= 300


def test_a_store_that_answers_nothing_is_given_up(s3: ObjectStore, bucket: str, between: Proxy) -> None:
    release = threading.Event()
    between.anything = lambda exchange: release.wait(30) and exchange.hang_up()
    storage = s3.storage(bucket, "p", endpoint=between.endpoint, patience=Patience(total_s=0), timeout_s=1)
    with pytest.raises(StorageUnreachableError, match="did not answer in time"):
        storage.get(NAME)
    release.set()


REFUSALS = {
    "expired": (refused(400, "ExpiredToken"), DeniedError, "credentials-expired"),
    "clock": (refused(403, "RequestTimeTooSkewed"), DeniedError, "clock-skewed"),
    "denied": (refused(403, "AccessDenied"), DeniedError, "store-denied"),
    "no bucket": (refused(404, "NoSuchBucket"), NotFoundError, "no-bucket"),
    "region": (refused(400, "AuthorizationHeaderMalformed"), StorageError, "wrong-region"),
    "quota": (refused(403, "QuotaExceeded"), HoldfastError, "full"),
    "unknown": (refused(501, "NotImplemented"), StorageError, "store-too-old"),
}


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize(("fault", "kind", "code"), REFUSALS.values(), ids=REFUSALS)
def test_what_will_not_pass_is_told_at_once_with_a_way_on(
    storage: ObjectStorage, between: Proxy, fault: Fault, kind: type[HoldfastError], code: str, method: str
) -> None:
    with between.failing(fault, method=method), pytest.raises(kind) as caught:
        storage.put(NAME, [b"content"]) if method == "PUT" else storage.get(NAME)
    assert caught.value.code == code
    assert caught.value.hint


def test_a_key_that_the_answer_to_a_delete_of_many_refuses_is_an_error(storage: ObjectStorage, between: Proxy) -> None:
    """Deletes go out as lists: the whole is answered with 200, and each name inside."""
    body = (
        '<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Error>'
        f"<Key>p/{NAME}</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
    )

    def answer(exchange: Exchange) -> None:
        exchange.give(Answer(200, [("Content-Type", "application/xml")], body.encode()))

    with between.failing(answer, method="POST"), pytest.raises(DeniedError, match=NAME):
        storage.delete(NAME)


def test_no_error_shows_a_secret(s3: ObjectStore, bucket: str, between: Proxy) -> None:
    key = S3Credentials(access_key_id="id-of-key", secret_access_key="very-secret", session_token="secret-token")
    for endpoint in (s3.endpoint, "http://127.0.0.1:1", "http://nowhere.invalid"):
        storage = s3.storage(
            bucket, "p", endpoint=endpoint, user=User(name="x", credentials=key), patience=Patience(total_s=0)
        )
        with pytest.raises(HoldfastError) as caught:
            storage.get(NAME)
        told = f"{caught.value} {caught.value.hint} {caught.value!r} {storage.url}"
        assert not {"very-secret", "secret-token", "Signature="} & set(told.split())
        assert "very-secret" not in told + repr(key)
        assert "secret-token" not in told + repr(key)
        assert caught.value.__cause__ is None


def test_an_objects_name_that_no_repository_has_is_named_and_not_passed_over(
    s3: ObjectStore, bucket: str, storage: ObjectStorage
) -> None:
    s3.ask("PUT", f"/{bucket}/p/log//x", b"stray")
    with pytest.raises(StorageError) as caught:
        list(storage.list("log/"))
    assert caught.value.code == "foreign-name"


# --- the whole road ---------------------------------------------------------------------------------------------------


def test_a_backup_a_check_and_a_restore_over_a_store_that_fails_a_quarter_of_the_time(
    s3: ObjectStore, bucket: str, between: Proxy, tmp_path: Path
) -> None:
    site = Site(
        home=tmp_path,
        environment={
            **s3.environment(),
            "HOLDFAST_S3_ENDPOINT": between.endpoint,
            "HOLDFAST_REPOSITORY": f"s3://{bucket}/fleet",
        },
    )
    image = tmp_path / "disk.raw"
    image.write_bytes(random.Random(7).randbytes(10 * MIB))
    faults = random.Random(7)
    met: list[str] = []

    def sometimes(exchange: Exchange) -> None:
        if faults.random() >= 0.25:
            exchange.give(exchange.ask())
            return
        name, fault = faults.choice([*PASSING.items(), ("lost", lost), ("cut", cut)])
        met.append(name)
        fault(exchange)

    assert site.run("repository", "create").status == 0
    between.anything = sometimes
    for _ in range(2):
        result = site.back_up("web", f"disk={image}")
    assert result["sent_bytes"] == 0
    assert site.run("repository", "check", "--json").end["results"][0]["ok"]
    output = tmp_path / "out.raw"
    assert site.run("restore", "disk", "web@latest", "--disk", "disk", "--output", output).status == 0
    assert output.read_bytes() == image.read_bytes()
    assert len(site.run("point", "list", "--json").value) == 2
    assert len(met) >= 5


def test_an_interrupt_ends_a_backup_that_waits_for_a_store_in_trouble(
    s3: ObjectStore, bucket: str, between: Proxy, tmp_path: Path
) -> None:
    """The store would be waited for five minutes."""
    create_repository(s3.storage(bucket, "fleet"), PASSPHRASE.encode(), cost=CHEAP)
    environment = {"HOLDFAST_S3_ENDPOINT": between.endpoint, "HOLDFAST_REPOSITORY": f"s3://{bucket}/fleet"}
    site = Site(home=tmp_path, environment={**s3.environment(), **environment})
    image = tmp_path / "disk.raw"
    image.write_bytes(random.Random(7).randbytes(60 * MIB))
    refusals = threading.Semaphore(0)

    def refuse_puts(exchange: Exchange) -> None:
        if exchange.method != "PUT":
            exchange.give(exchange.ask())
            return
        refused(503, "SlowDown")(exchange)
        refusals.release()

    between.anything = refuse_puts
    backup = site.start("backup", "--name", "web", "--image", f"disk={image}")
    for _ in range(5):
        assert refusals.acquire(timeout=60)
    backup.send_signal(signal.SIGINT)
    _, told = backup.communicate(timeout=60)
    assert backup.returncode == 128 + signal.SIGINT
    assert "interrupted by SIGINT" in told
