"""Any sequence of changes of keys, with the power going anywhere, by openers that are fresh or stale, against a model.

The model knows which secrets are in force. After each step exactly those open, and everything stored can be read.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import ConflictError, DeniedError, RefusedError
from holdfast.core.point import RestorePoint
from holdfast.repository import MemoryStorage, Repository, open_repository
from tests.support.disks import whole
from tests.support.repositories import PASSPHRASE, back_up_disks, new_repository, restored
from tests.support.secrets import a_secret, opens
from tests.support.storage import FATES, FaultyStorage, PowerCut

SECRETS = [PASSPHRASE, b"one", b"two", b"three"]

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "change", "remove", "rotate", "back up", "reopen"]),
        st.sampled_from(SECRETS),  # who does it
        st.sampled_from(SECRETS),  # to whom, or with what
        st.none() | st.tuples(st.sampled_from(["put", "delete"]), st.integers(1, 4), st.sampled_from(sorted(FATES))),
    ),
    max_size=12,
)


@dataclass
class World:
    """The storage, who has it open since when, and what must be true."""

    memory: MemoryStorage = field(default_factory=MemoryStorage)
    numbers: dict[bytes, int] = field(default_factory=lambda: {PASSPHRASE: 1})
    open: dict[bytes, Repository] = field(default_factory=dict)
    stored: list[tuple[RestorePoint, bytes]] = field(default_factory=list)

    def opener(self, secret: bytes) -> Repository | None:
        """Somebody's repository, as it was opened when it was; None for one without a key."""
        if secret not in self.open and secret in self.numbers:
            self.open[secret] = open_repository(FaultyStorage(self.memory), secret)
        return self.open.get(secret)

    def learn(self) -> None:
        """What the change came to, by asking the log: only after a cut is there more than one answer."""
        reader = next(filter(None, (opens(self.memory, secret) for secret in SECRETS)), None)
        assert reader, "nobody opens any more"
        valid = {slot.number for slot in reader.keyring.slots()}
        self.numbers = {
            secret: opened.keyring.in_use for secret in SECRETS if (opened := opens(self.memory, secret)) is not None
        }
        assert set(self.numbers.values()) == valid

    def require(self) -> None:
        """Exactly those with a key open, and what they read is exact."""
        for secret in SECRETS:
            opened = opens(self.memory, secret)
            assert (opened is not None) == (secret in self.numbers), secret
            if opened is not None:
                assert opened.keyring.in_use == self.numbers[secret]
                assert [restored(opened, point) for point, _ in self.stored] == [content for _, content in self.stored]


def carry_out(world: World, kind: str, actor: Repository, secret: bytes) -> None:
    """What is done, and what the model makes of it. Raises what the change raises."""
    mine = next((own for own, each in world.open.items() if each is actor), None)
    assert mine is not None
    match kind:
        case "add" if secret not in world.numbers:
            world.numbers[secret] = actor.keyring.add(a_secret(secret), "").number
        case "change" if secret not in world.numbers:
            number = actor.keyring.change(a_secret(secret)).number
            del world.numbers[mine], world.open[mine]
            world.numbers[secret] = number
        case "remove" if secret in world.numbers:
            actor.keyring.remove(world.numbers[secret])
            del world.numbers[secret]
        case "rotate":
            before = actor.log.read().keys.epoch
            assert actor.keyring.rotate() == before + 1
        case "back up":
            content = b"%d" % len(world.stored) * 5000
            world.stored.append((back_up_disks(actor, [whole(content)]).point, content))


@given(steps=STEPS)
@settings(max_examples=80, deadline=None)
def test_exactly_those_with_a_key_open_whatever_was_changed_and_wherever_the_power_went(steps: list) -> None:  # type: ignore[type-arg]
    world = World()
    new_repository(world.memory)
    for kind, who, secret, cut in steps:
        actor = world.opener(who)
        if kind == "reopen" or actor is None:
            world.open.pop(who, None)
            continue
        storage = actor.storage
        assert isinstance(storage, FaultyStorage)
        stale = who not in world.numbers
        try:
            if cut is None or kind == "back up":
                carry_out(world, kind, actor, secret)
            else:
                plan = storage.at_put if cut[0] == "put" else storage.at_delete
                with plan(cut[1], FATES[cut[2]]):
                    carry_out(world, kind, actor, secret)
        except PowerCut:
            world.open.pop(who, None)
            world.learn()
        except AssertionError as error:
            if "was never reached" not in str(error):
                raise
            storage._plan.clear()
            storage._deletes_plan.clear()
        except RefusedError as error:
            assert error.code == "key-in-use"
        except (DeniedError, ConflictError):
            assert stale, "somebody with a key was denied"
            world.open.pop(who, None)
        world.require()
