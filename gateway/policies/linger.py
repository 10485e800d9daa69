"""When a batch leaves: how long requests wait for company, and how many batches are under way at once.

Theory. A batch costs about the same whoever rides in it, so company is worth waiting for only while it comes.
Two things are known without asking anybody. One is the *crowd*: how many requests were there at once of late,
waiting or riding. Clients that wait for their answers before they ask again come back as often as they leave,
so the crowd says how many are still to come; with ``c`` batches under way each is to carry its share.

The other is how closely requests follow each other. A busy process does not see who stands before its door: a
request that has arrived may wait to be read until the one before is answered. Then the next one comes soon
after the last, again and again, and it is cheaper to read them all first.

Rules:

- A batch leaves when its share of the crowd waits and for a short while, the *pause*, nobody came.
- Who is alone is a crowd of one and leaves at once; but one request in 64 waits for a pause, to see whether
  anybody stands behind it.
- Nobody waits for a share that does not come longer than half the time that a batch takes, and for no reason
  longer than the cap, or so long that the batch would end after the first of its deadlines.
- The crowd follows its greatest number at once, and forgets a quarter of what is missing with each departure.
- While all places are taken, requests wait until a batch ends. More batches are let under way at once while
  that does not lower how many requests are answered per second, and fewer where that raises it.

Everything is told to these classes, time included; they do nothing by themselves.
"""

from __future__ import annotations

import math

__all__ = ["Linger", "Places"]

#: Of the time that a batch takes, how much a request may wait for a share of the crowd, and for a pause.
_SHARE, _PAUSE = 0.5, 0.5
#: The longest pause: what it takes a process to read a few requests.
_LONGEST_PAUSE_S = 0.001
#: Every how many departures one who seems to be alone looks behind.
_LOOK_EVERY = 64
#: Weight of the newest batch in the mean time that one takes.
_NEWEST = 0.2
#: How much of a crowd that did not come is forgotten with each departure.
_FORGET = 0.25
#: A crowd is what is more than one, and a little, because it is forgotten by and by.
_ONE = 1.5


class Linger:
    """Decides when the requests of one line leave.

    Args:
        cap_s: Longest wait for company.

    Example:
        >>> linger = Linger(cap_s=0.005)
        >>> linger.arrived(7.0, present=1)
        >>> linger.leaves_at(waiting=1, oldest=7.0, soonest=9.0, places=2) <= 7.0
        True
    """

    def __init__(self, *, cap_s: float) -> None:
        self.cap_s = cap_s
        self.crowd = 1.0
        self.took_s = 0.0
        self._newest = -math.inf
        self._departures = 0

    def arrived(self, now: float, *, present: int) -> None:
        """Take note of a request; ``present`` counts it and all others that wait or ride."""
        self.crowd = max(self.crowd, present)
        self._newest = now

    def left(self, *, present: int) -> None:
        """Take note that a batch left; ``present`` counts who waits or rides, its own riders included."""
        self.crowd -= _FORGET * max(0.0, self.crowd - present)
        self._departures += 1

    def ended(self, took_s: float) -> None:
        """Take note of the time that a batch took."""
        self.took_s = took_s if not self.took_s else self.took_s + _NEWEST * (took_s - self.took_s)

    def leaves_at(self, *, waiting: int, oldest: float, soonest: float, places: int) -> float:
        """Return when the requests that wait are to leave, should nothing happen before.

        Args:
            waiting: How many there are.
            oldest: When the first of them came.
            soonest: When waiting ends for the first whose waiting ends.
            places: How many batches may be under way at once.
        """
        if self.crowd < _ONE and self._departures % _LOOK_EVERY:
            return -math.inf
        at = self._newest + min(_PAUSE * self.took_s, _LONGEST_PAUSE_S)
        if waiting < math.ceil(self.crowd / places - 1e-9):
            at = max(at, oldest + _SHARE * self.took_s)
        return min(at, oldest + self.cap_s, soonest - self.took_s)


class Places:
    """Decides how many batches of one line may be under way at once.

    Its trials are measured in batches that ended while others would have left, because only then does the
    number of places make a difference. A number is compared with the one before by what a batch took and by
    how many requests were answered per second.

    Args:
        most: The most that are ever let.

    Example:
        >>> Places(most=8).number
        2
    """

    #: Batches of one trial; and for how many trials a change that proved wrong is left, at first and at most.
    TRIAL, REST, REST_MOST = 8, 4, 64
    #: By how much a rate, and by how much the time of a batch, must differ to be another one.
    RATE_SLACK, TIME_SLACK = 0.03, 0.08

    def __init__(self, *, most: int) -> None:
        self._most = most
        self.number = min(2, most)
        self._rate = self._mean_s = 0.0
        self._step, self._next = 0, 1
        self._rest, self._resting = self.REST, 0
        self._since, self._batches, self._riders, self._took_s = 0.0, 0, 0, 0.0

    def ended(self, now: float, *, riders: int, took_s: float, wanted: bool) -> None:
        """Take note that a batch ended.

        Args:
            now: Monotonic time, in seconds.
            riders: How many rode in it.
            took_s: How long it took.
            wanted: Whether others waited for its place.
        """
        if not wanted or not self._batches:
            # the first one of a trial only starts the clock
            self._since, self._batches, self._riders, self._took_s = now, int(wanted), 0, 0.0
            return
        self._batches += 1
        self._riders += riders
        self._took_s += took_s
        if self._batches > self.TRIAL and now > self._since:
            self._judge(self._riders / (now - self._since), self._took_s / self.TRIAL)
            self._batches = 0

    def _judge(self, rate: float, mean_s: float) -> None:
        """Compare a trial with the one before, and choose the next number."""
        if self._step > 0:
            # more places shorten the wait at the same rate
            undisturbed = mean_s <= self._mean_s * (1 + self.TIME_SLACK)
            kept = undisturbed or rate >= self._rate * (1 - self.RATE_SLACK)
            self._next = 2 * self._step if undisturbed else 1
        else:
            kept = not self._step or rate > self._rate * (1 + self.RATE_SLACK)
        if not kept:
            self.number -= self._step
            self._next = -1 if self._step > 0 else 1
            self._step = 0
            self._resting, self._rest = self._rest, min(2 * self._rest, self.REST_MOST)
            return
        if self._step:
            self._rest = self.REST
        self._rate, self._mean_s = rate, mean_s
        self._resting -= 1
        before = self.number
        if self._resting <= 0:
            self.number = min(max(self.number + self._next, 1), self._most)
            if self.number == before:
                self._next = -1 if self._next > 0 else 1
        self._step = self.number - before
