"""What SIGINT and SIGTERM do, by contexts."""

import os
import signal
import threading

import pytest

from smat.signals import StopSignals, held_back


def test_the_first_signal_asks_the_second_waits_and_the_third_ends() -> None:
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert stop.asked == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_sigterm_asks_however_often_it_comes() -> None:
    with StopSignals(raising=True) as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        for _ in range(5):
            signal.raise_signal(signal.SIGTERM)
    assert stop.asked == signal.SIGTERM


def test_where_nothing_is_lost_the_first_one_raises_at_once() -> None:
    with StopSignals() as stop:
        with pytest.raises(KeyboardInterrupt), stop.at_once():
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), stop.at_once():
            pytest.fail("it was asked before")


def test_what_an_inner_context_was_asked_the_outer_one_knows() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals(raising=True) as outer:
        with StopSignals():
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert outer.asked == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_change_nothing() -> None:
    before, found = signal.getsignal(signal.SIGINT), []

    def enter() -> None:
        with StopSignals():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]


def test_a_process_that_is_forked_leaves_the_decision_to_its_parent() -> None:
    with StopSignals(raising=True):
        if not (child := os.fork()):
            try:
                signal.raise_signal(signal.SIGTERM)
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_signals_that_are_held_back_come_after_the_block() -> None:
    with StopSignals() as stop:
        with held_back():
            signal.raise_signal(signal.SIGTERM)
            assert stop.asked is None
        assert stop.asked == signal.SIGTERM
