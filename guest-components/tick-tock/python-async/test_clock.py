import unittest

from clock import Clock


class ClockTest(unittest.TestCase):
    def test_ticks_and_tocks_take_turns_and_the_report_counts_both(self):
        clock = Clock()
        self.assertEqual([clock.next(), clock.next(), clock.next()], ["tick 1", "tock 2", "tick 3"])
        self.assertEqual(clock.report(), "ticked 3 times")
