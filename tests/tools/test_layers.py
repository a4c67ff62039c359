"""The layering and the no-globals checks catch what is planted, and only that."""
import tempfile
import unittest
from pathlib import Path

import layers
import no_globals

OBJDUMP = """
a.o:     file format elf64-x86-64

SYMBOL TABLE:
0000000000000000 l    df *ABS*\t0000000000000000 a.c
0000000000000000 l    d  .bss\t0000000000000000 .bss
0000000000000000 l     O .bss\t0000000000000004 counter
0000000000000000 g     F .text\t000000000000000a walk
0000000000000000 g     O .rodata\t0000000000000004 limits
0000000000000000 g     O .data.rel.ro.local\t0000000000000008 names
0000000000000000 g     O .data\t0000000000000008 state
"""


class LayersTest(unittest.TestCase):
    def errors(self, **files: str) -> list:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, text in files.items():
                path = root / name.replace("__", "/").replace("_dot_", ".")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return layers.layer_errors(root)

    def test_the_project_itself(self):
        self.assertEqual(layers.layer_errors(Path(layers.__file__).resolve().parents[2]), [])

    def test_allowed(self):
        self.assertEqual(self.errors(ept__a_dot_c='#include <stdint.h>\n#include "mm/mm.h"\n'), [])

    def test_upwards(self):
        self.assertIn("may use only", self.errors(mm__a_dot_c='#include "ept/ept.h"\n')[0])

    def test_internals_of_a_neighbour(self):
        self.assertEqual(len(self.errors(ept__a_dot_c='#include "mm/space.h"\n',
                                         boot__b_dot_c='# include "ept/walk.h"\n')), 2)

    def test_s18_one_door_from_ept_to_mm(self):
        """S18: the secondary MMU asks mm/mm.h, and is told by mm/notifier.h; no more of mm/."""
        for header in ("mm", "notifier"):
            self.assertEqual(self.errors(ept__a_dot_c=f'#include "mm/{header}.h"\n'), [])
        root = Path(layers.__file__).resolve().parents[2]
        inside = {path.name for path in (root / "mm").glob("*.h")} - {"mm.h", "notifier.h"}
        self.assertGreater(len(inside), 5)
        for header in sorted(inside):
            self.assertEqual(len(self.errors(ept__a_dot_c=f'#include "mm/{header}"\n')), 1, header)

    def test_relative_name_is_resolved(self):
        self.assertEqual(self.errors(mm__a_dot_c='#include "b.h"\n', mm__b_dot_h=""), [])

    def test_payload_uses_the_abi_alone(self):
        self.assertEqual(len(self.errors(guest__payload__a_dot_S='#include "mm/mm.h"\n'
                                         '#include "guest/abi.h"\n')), 1)

    def test_s93_no_marks_by_frame(self):
        """S93: ept/ has no kvm_{set,release}_pfn_{accessed,dirty}; one that comes is seen."""
        for name in ("ept_set_pfn_dirty", "ept_set_pfn_accessed", "ept_release_pfn_dirty",
                     "ept_release_pfn_clean", "ept_use"):
            found = self.errors(ept__ept_dot_h=f"void ept_destroy(struct ept *ept);\n"
                                f"void {name}(struct ept *ept,\n\t\tpfn_t frame);\n")
            self.assertEqual(len(found), 1, name)
            self.assertIn(name, found[0])
        inside = ("static inline void ept_mark(struct ept *ept, pfn_t frame) "
                  "HOLDS(ept->lock)\n{\n}\n")
        self.assertEqual(len(self.errors(ept__change_dot_h=inside)), 1)
        self.assertEqual(self.errors(ept__table_dot_h="pfn_t ept_table_take(struct ept *ept);\n"
                                     "void ept_table_free(struct ept *ept, pfn_t table);\n",
                                     ept__ept_dot_h="/* by pfn_t: void f(pfn_t a); */\n"
                                     "void f(gfn_t a, struct ept *ept);\n"), [])

    def test_unknown_folder(self):
        self.assertIn("does not know", self.errors(mm__new__a_dot_c="")[0])

    def test_unknown_top_level(self):
        self.assertIn("top level", self.errors(docs__a_dot_md="")[0])

    def test_hosted_header(self):
        self.assertIn("not freestanding", self.errors(ept__a_dot_c="#include <stdio.h>\n")[0])
        self.assertEqual(self.errors(tests__host__a_dot_c="#include <stdio.h>\n"), [])

    def test_shared_word_by_hand(self):
        found = self.errors(mm__a_dot_c="int f(int *p);\n/* volatile */\n"
                            "int f(int *p) { return __atomic_load_n(p, 0); }\n")
        self.assertEqual(len(found), 1)
        self.assertIn("mm/a.c:3:", found[0])


class GlobalsTest(unittest.TestCase):
    def test_finds_the_mutable_ones(self):
        self.assertEqual(no_globals.writable_symbols(OBJDUMP),
                         [("counter", ".bss", 4), ("state", ".data", 8)])


if __name__ == "__main__":
    unittest.main()
