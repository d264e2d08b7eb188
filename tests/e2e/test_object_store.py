"""Repositories in a real object store, through the command line: the whole road, credentials, trust, a private TLS."""

import json
import random
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from holdfast.core.access import S3Credentials
from holdfast.core.errors import ConflictError, DeniedError
from holdfast.repository import KdfCost, create_repository, open_repository
from tests.e2e.command import PASSPHRASE, Site
from tests.testbed.objectstore import ObjectStore, User
from tests.testbed.proxy import proxy

MIB = 1 << 20
CHEAP = KdfCost(memory_kib=64, iterations=1, lanes=1)
MOVER = User(name="mover", credentials=S3Credentials(access_key_id="mover", secret_access_key="the mover's secret"))


@pytest.fixture
def bucket(s3: ObjectStore) -> str:
    return s3.new_bucket()


@pytest.fixture
def site(s3: ObjectStore, bucket: str, tmp_path: Path) -> Site:
    """A place whose repository is in the store, made as `Site.create` makes one."""
    create_repository(s3.storage(bucket, "fleet"), PASSPHRASE.encode(), cost=CHEAP)
    return Site(home=tmp_path, environment={**s3.environment(), "HOLDFAST_REPOSITORY": f"s3://{bucket}/fleet"})


def an_image(site: Site, seed: int, size: int = 40 * MIB) -> Path:
    image = site.home / f"disk{seed}.raw"
    image.write_bytes(random.Random(seed).randbytes(size - MIB) + bytes(MIB))
    return image


def restored(site: Site, **changes: str) -> bytes:
    output = site.home / f"out{random.randrange(1 << 30)}.raw"
    done = site.run("restore", "disk", "web@latest", "--disk", "disk", "--output", output, **changes)
    assert done.status == 0, done.err
    return output.read_bytes()


def test_a_repository_is_made_in_a_bucket_and_never_over_another(s3: ObjectStore, bucket: str, tmp_path: Path) -> None:
    nowhere = Site(home=tmp_path, environment=s3.environment())
    url = f"s3://{bucket}/some/prefix"
    made = nowhere.run("repository", "create", url, "--json", HOLDFAST_REPOSITORY=None)
    assert made.status == 0, made.err
    assert made.value["url"] == url
    again = nowhere.run("repository", "create", "--json", HOLDFAST_REPOSITORY=url)
    assert (again.status, again.error["code"]) == (6, "not-empty")
    two = nowhere.run("repository", "create", url, "--repository", f"{url}/other", "--json")
    assert (two.status, two.error["kind"]) == (2, "usage")


def test_a_repository_in_a_bucket_is_filled_checked_and_restored_from(s3: ObjectStore, bucket: str, site: Site) -> None:
    image = an_image(site, 1)
    assert site.back_up("web", f"disk={image}")["sent_bytes"] == 39 * MIB
    assert site.back_up("web", f"disk={image}")["sent_bytes"] == 0
    assert site.run("repository", "check", "--json").end["results"][0]["ok"]
    info = site.run("repository", "info", "--json").value
    assert info["points"] == 2
    assert info["stored_bytes"] == sum(stored.size for stored in s3.storage(bucket, "fleet").list(""))
    assert restored(site) == image.read_bytes()
    doctor = {check["name"]: check for check in site.run("doctor", "--json").value["checks"]}
    assert doctor["repository"]["ok"]
    assert doctor["repository trust"]["ok"]
    assert not any(name.startswith("probe/") for name, _ in s3.storage(bucket, "fleet").list(""))


def test_what_is_deleted_is_collected_from_a_bucket_and_the_rest_restores(
    s3: ObjectStore, bucket: str, site: Site
) -> None:
    first, second = an_image(site, 1, 20 * MIB), an_image(site, 2, 20 * MIB)
    gone = site.back_up("web", f"disk={first}")["point"]
    site.back_up("web", f"disk={second}")
    before = sum(stored.size for stored in s3.storage(bucket, "fleet").list(""))
    deleted = site.run("point", "delete", f"web@{gone}", "--purge", "--yes")
    assert deleted.status == 0, deleted.err
    collected = site.run("repository", "collect", "--json")
    assert collected.status == 0, collected.err
    assert collected.end["results"][0]["freed_bytes"] > 18 * MIB
    assert before - sum(stored.size for stored in s3.storage(bucket, "fleet").list("")) > 18 * MIB
    assert site.run("repository", "check", "--json").end["results"][0]["ok"]
    assert restored(site) == second.read_bytes()


def test_two_repositories_in_one_bucket_know_nothing_of_each_other(s3: ObjectStore, bucket: str, site: Site) -> None:
    other = {"HOLDFAST_REPOSITORY": f"s3://{bucket}/fleet2"}
    create_repository(s3.storage(bucket, "fleet2"), PASSPHRASE.encode(), cost=CHEAP)
    site.back_up("web", f"disk={an_image(site, 1, 5 * MIB)}")
    assert len(site.run("point", "list", "--json").value) == 1
    assert site.run("point", "list", "--json", **other).value == []


def test_of_sixteen_who_create_one_repository_one_wins_and_it_is_whole(s3: ObjectStore, bucket: str) -> None:
    def create(number: int) -> str | None:
        try:
            made = create_repository(s3.storage(bucket, "race"), b"passphrase %d" % number, cost=CHEAP)
        except ConflictError:
            return None
        return made.id

    with ThreadPoolExecutor(16) as racers:
        outcomes = list(racers.map(create, range(16)))
    (winner,) = [number for number, made in enumerate(outcomes) if made]
    opened = open_repository(s3.storage(bucket, "race"), b"passphrase %d" % winner)
    assert opened.id == outcomes[winner]


def test_backups_of_two_machines_at_once_both_commit(site: Site) -> None:
    images = [an_image(site, seed, 12 * MIB) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda image: site.back_up(image.stem, f"disk={image}"), images))
    assert {point["machine"] for point in site.run("point", "list", "--json").value} == {"disk1", "disk2"}
    assert site.run("repository", "check", "--json").end["results"][0]["ok"]


def test_a_bandwidth_limit_makes_it_take_its_time(site: Site) -> None:
    site.back_up("web", f"disk={an_image(site, 1, 20 * MIB)}")
    output = site.home / "slow.raw"
    restore = ["restore", "disk", "web@latest", "--disk", "disk", "--output", output, "--json"]
    done = site.run(*restore, "--limit-rate", "8MiB/s")
    assert done.status == 0, done.err
    assert done.end["results"][0]["seconds"] > 1


# --- what the user is told --------------------------------------------------------------------------------------------


def test_a_wrong_place_or_a_wrong_key_is_told_as_that(site: Site, bucket: str) -> None:
    def error(**changes: str) -> tuple[int, str]:
        done = site.run("point", "list", "--json", **changes)
        assert "the wrong secret" not in done.out + done.err
        assert "the owner's secret" not in done.out + done.err
        return done.status, done.error["code"]

    assert error(HOLDFAST_REPOSITORY=f"s3://{bucket}/elsewhere") == (4, "no-repository")
    assert error(HOLDFAST_REPOSITORY="s3://no-such-bucket/x") == (4, "no-bucket")
    assert error(HOLDFAST_S3_ENDPOINT="http://127.0.0.1:1") == (7, "store-unreachable")
    assert error(HOLDFAST_S3_SECRET_ACCESS_KEY="the wrong secret") == (5, "store-denied")
    assert error(HOLDFAST_S3_ACCESS_KEY_ID="", HOME=str(site.home)) == (5, "no-credentials")


def test_keys_come_from_the_shared_credentials_file_and_a_profile(site: Site, bucket: str) -> None:
    folder = site.home / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        "[site-a]\naws_access_key_id = owner\naws_secret_access_key = the owner's secret\n"
    )
    keyless = {"HOLDFAST_S3_ACCESS_KEY_ID": None, "HOLDFAST_S3_SECRET_ACCESS_KEY": None, "HOME": str(site.home)}
    by_profile = site.run("point", "list", "--json", HOLDFAST_REPOSITORY=f"s3://site-a@{bucket}/fleet", **keyless)
    assert (by_profile.status, by_profile.value) == (0, [])
    assert site.run("point", "list", "--json", AWS_PROFILE="site-a", **keyless).status == 0


# --- a credential that can only add -----------------------------------------------------------------------------------


def policy(bucket: str) -> bytes:
    """What docs/object-storage.md gives a mover."""
    text = Path(__file__).parents[2].joinpath("docs/object-storage.md").read_text()
    shown = json.loads(text.partition("```json\n")[2].partition("```")[0])
    return json.dumps(shown).replace("arn:aws:s3:::backups", f"arn:aws:s3:::{bucket}").encode()


def test_a_mover_that_can_only_add_backs_up_restores_and_cannot_delete(
    s3: ObjectStore, bucket: str, site: Site
) -> None:
    s3.add_user(MOVER)
    s3.ask("PUT", f"/{bucket}?policy", policy(bucket))
    mover = Site(home=site.home, environment={**site.environment, **s3.environment(MOVER)})
    image = an_image(site, 1, 12 * MIB)
    mover.back_up("web", f"disk={image}")
    assert mover.back_up("web", f"disk={image}")["sent_bytes"] == 0
    assert restored(mover) == image.read_bytes()
    assert mover.run("repository", "check", "--json").end["results"][0]["ok"]
    storage = s3.storage(bucket, "fleet", user=MOVER)
    for name in [stored.name for stored in storage.list("")]:
        with pytest.raises(DeniedError):
            storage.delete(name)
    elsewhere = s3.storage(bucket, "elsewhere", user=MOVER)
    with pytest.raises(DeniedError):
        elsewhere.put("config", [b"x"])


# --- TLS --------------------------------------------------------------------------------------------------------------


def authority_and_server(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate authority's file, and the context of a server on loopback that it vouches for."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in ("authority", "store"))
    now = datetime.now(UTC)

    def begun(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(root_name).public_key(public)
        dates = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        return dates.serial_number(x509.random_serial_number())

    root = begun(root_name, root_key.public_key()).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    leaf = begun(name, key.public_key()).add_extension(here, False)
    pem = serialization.Encoding.PEM
    authority, chain, secret = folder / "authority.pem", folder / "store.pem", folder / "store.key"
    authority.write_bytes(root.sign(root_key, hashes.SHA256()).public_bytes(pem))
    chain.write_bytes(leaf.sign(root_key, hashes.SHA256()).public_bytes(pem))
    secret.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, secret)
    return authority, context


def test_a_certificate_of_ones_own_authority_is_trusted_only_if_told_so(s3: ObjectStore, site: Site) -> None:
    authority, context = authority_and_server(site.home)
    with proxy(s3.endpoint, context) as store:
        there = {"HOLDFAST_S3_ENDPOINT": store.endpoint}
        refused = site.run("point", "list", "--json", **there)
        assert (refused.status, refused.error["code"]) == (5, "certificate")
        trusted = site.run("point", "list", "--json", HOLDFAST_S3_CA_FILE=str(authority), **there)
        assert (trusted.status, trusted.value) == (0, [])
