"""A budget is never overdrawn, and nobody waits for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor

from holdfast.jobs.budget import Budget


def test_what_is_taken_at_once_never_exceeds_the_budget_and_all_get_their_turn() -> None:
    budget, lock, taken, most = Budget(10), threading.Lock(), [0], [0]
    all_started = threading.Barrier(2)

    def work(amount: int) -> None:
        with budget.share(amount):
            with lock:
                taken[0] += min(amount, 10)
                most[0] = max(most[0], taken[0])
            if amount == 5:
                all_started.wait(10)  # two of these fit at the same time
            with lock:
                taken[0] -= min(amount, 10)

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(work, [5, 5, 3, 9, 100, 1, 1, 8]))
    assert most[0] == 10
    assert taken[0] == 0
