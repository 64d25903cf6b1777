import unittest

from greeter import Greeter


class GreeterTest(unittest.TestCase):
    def test_everyone_gets_the_next_number_and_the_report_counts_them_all(self):
        greeter = Greeter()
        self.assertEqual(greeter.greet(), "Hello, you are number 1\n")
        self.assertEqual(greeter.greet(), "Hello, you are number 2\n")
        self.assertEqual(greeter.report(), "said hello 2 times")
