"""Parts of a whole: none is lost, none is done twice."""
import unittest

import shard


class ShardTest(unittest.TestCase):
    def test_parse(self):
        self.assertEqual(shard.parse(""), (1, 1))
        self.assertEqual(shard.parse("3/16"), (3, 16))

    def test_nonsense(self):
        for text in ("0/2", "3/2", "1/0", "1", "/", "a/b", "-1/2", "1/2/3", " 1/2"):
            with self.assertRaises(ValueError, msg=text):
                shard.parse(text)

    def test_parts_make_the_whole(self):
        for total in (0, 1, 7, 1000003):
            for parts in (1, 2, 3, 16):
                self.assertEqual(total, sum(shard.share(total, part, parts)
                                            for part in range(1, parts + 1)))
