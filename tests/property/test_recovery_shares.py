"""For any K and N: any K shares give the key and no K-1 do, in any order and with anything between them."""

from hypothesis import given, settings
from hypothesis import strategies as st
from shamir_mnemonic.wordlist import WORDLIST

from holdfast.repository import Division, TooFewSharesError, shares_error, shares_of_key
from holdfast.repository.recovery import entropy_of_key, key_of_entropy
from holdfast.repository.recovery_shares import key_of_shares

KEYS = st.binary(min_size=32, max_size=32).map(key_of_entropy)
SIZES = st.integers(2, 16).flatmap(lambda count: st.tuples(st.integers(2, count), st.just(count)))
BETWEEN = st.sampled_from(["\n", "/", " ", " / ", "\r\n", "\n\n", "\t", " /\n"])


@settings(deadline=None)
@given(st.data(), KEYS, SIZES)
def test_any_k_of_n_give_the_key_and_fewer_give_none(data: st.DataObject, key: str, sizes: tuple[int, int]) -> None:
    needed, count = sizes
    shares = shares_of_key(key, Division(needed=needed, count=count))
    assert len(set(shares)) == count
    order = data.draw(st.permutations(range(count)))
    given_shares = [shares[place] for place in order[: data.draw(st.integers(1, count))]]
    text = given_shares[0] + "".join(data.draw(BETWEEN) + share for share in given_shares[1:])
    opened, error = key_of_shares(text.encode()), shares_error(text.encode())
    if len(given_shares) >= needed:
        assert (opened, error) == (key.encode(), None)
    else:
        assert opened is None
        assert isinstance(error, TooFewSharesError)
        assert error.missing == needed - len(given_shares)


@settings(deadline=None)
@given(st.data(), KEYS, SIZES, BETWEEN)
def test_one_changed_word_is_told(data: st.DataObject, key: str, sizes: tuple[int, int], between: str) -> None:
    needed, count = sizes
    shares = [share.split() for share in shares_of_key(key, Division(needed=needed, count=count))[:needed]]
    place, number = data.draw(st.integers(0, needed - 1)), data.draw(st.integers(0, 32))
    right = shares[place][number]
    wrong = data.draw(st.sampled_from(WORDLIST).filter(lambda word: word != right) | st.just(f"{right[:3]}qq"))
    shares[place][number] = wrong
    secret = between.join(" ".join(share) for share in shares).encode()
    assert key_of_shares(secret) is None
    error = shares_error(secret)
    assert error
    if wrong in WORDLIST:
        assert error.message.startswith(f"the checksum of share {place + 1} does not fit")
    else:
        assert error.message.startswith(f"word {number + 1} of share {place + 1}, {wrong!r}, is not in the list")


@given(KEYS)
def test_a_key_says_its_entropy(key: str) -> None:
    assert key_of_entropy(entropy_of_key(key)) == key


NEARLY = st.lists(st.sampled_from([*WORDLIST, "/", "\n", "x"]), min_size=25, max_size=99).map(" ".join)


@settings(deadline=None)
@given(st.binary(max_size=9000) | NEARLY.map(str.encode))
def test_nothing_that_is_typed_is_more_than_a_wrong_secret(secret: bytes) -> None:
    assert key_of_shares(secret) is None
    error = shares_error(secret)
    assert error is None or error.hint
