"""Ctrl-C once is a request, twice is what it always was; real signals, sent to this process."""

import os
import signal
import threading

import pytest

from numvae.interruption import Interrupted, Interruption

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot send these signals to a process")


@pytest.fixture(autouse=True)
def usual_handlers():
    """SIGINT raises KeyboardInterrupt and SIGTERM raises SystemExit, whatever the tests were started with."""

    def leave(number, frame):
        raise SystemExit("terminated")

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, leave)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers():
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def send(number):
    os.kill(os.getpid(), number)


def test_nothing_is_requested_without_a_signal():
    with Interruption() as interruption:
        assert not interruption.requested
    assert not interruption.requested


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request(number):
    with Interruption() as interruption:
        send(number)
        assert interruption.requested
    assert interruption.signal == number


def test_the_first_signal_is_remembered_whatever_the_second_is():
    with Interruption() as interruption:
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert interruption.signal == signal.SIGTERM


def test_an_interruption_is_a_keyboard_interrupt_with_the_exit_code_that_shells_give():
    assert Interrupted("stopped").exit_code == 130
    assert Interrupted("stopped", signal.SIGTERM).exit_code == 143
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        raise Interrupted("stopped")


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_the_second_signal_acts_as_it_would_have_without_us(number, error):
    with Interruption() as interruption:
        send(signal.SIGINT)
        with pytest.raises(error):
            send(number)
    assert interruption.requested


@pytest.mark.parametrize("signals", [(), (signal.SIGINT,)])
def test_the_handlers_come_back(signals):
    before = handlers()
    with Interruption():
        assert handlers() != before
        for number in signals:
            send(number)
    assert handlers() == before


def test_the_handlers_come_back_after_an_error():
    before = handlers()
    with pytest.raises(ZeroDivisionError), Interruption():
        raise ZeroDivisionError
    assert handlers() == before


def test_beside_the_main_thread_it_watches_nothing_and_does_not_mind():
    before, seen = handlers(), []

    def work():
        with Interruption() as interruption:
            seen.extend([interruption.requested, handlers()])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, before]
