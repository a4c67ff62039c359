"""gdb printers for the project's words: addresses, table entries, lists. Loaded by `make debug`.

	(gdb) p old
	$1 = spte 0x123000 RWX A D leaf host-writable mmu-writable
	(gdb) p address
	$2 = gpa 0x7e00
"""
import gdb
import gdb.printing

ADDRESSES = ("gpa_t", "gfn_t", "hva_t", "hpa_t", "pfn_t")
FRAME = 0x000F_FFFF_FFFF_F000
LIST_MOST = 1000

SPTE_FLAGS = ((1 << 8, "A"), (1 << 9, "D"), (1 << 7, "leaf"), (1 << 52, "host-writable"),
              (1 << 53, "mmu-writable"), (1 << 62, "soft-ad"))
PTE_FLAGS = ((1 << 0, "P"), (1 << 1, "W"), (1 << 2, "U"), (1 << 5, "A"), (1 << 6, "D"),
             (1 << 7, "PS"), (1 << 8, "none"), (1 << 9, "migration"), (1 << 63, "NX"))


def flag_words(bits: int, flags: tuple) -> str:
    return " ".join(word for mask, word in flags if bits & mask)


class AddressPrinter:
    """gpa_t and its like: the space's name and the number."""

    def __init__(self, value):
        self.value = value
        self.kind = value.type.unqualified().name

    def to_string(self):
        return f"{self.kind[:-2]} {int(self.value['raw']):#x}"


class SptePrinter:
    """spte_t, and spte_slot_t as it stands now."""

    def __init__(self, value):
        self.bits = int(value[value.type.fields()[0].name])

    def to_string(self):
        if not self.bits & (1 << 11):
            return f"spte not present ({self.bits:#x})"
        rights = "".join(letter if self.bits & 1 << i else "-" for i, letter in enumerate("RWX"))
        return f"spte {self.bits & FRAME:#x} {rights} {flag_words(self.bits, SPTE_FLAGS)}".rstrip()


class PtePrinter:
    """pte_t, and pte_slot_t as it stands now."""

    def __init__(self, value):
        self.bits = int(value[value.type.fields()[0].name])

    def to_string(self):
        if not self.bits:
            return "pte empty"
        return f"pte {self.bits & FRAME:#x} {flag_words(self.bits, PTE_FLAGS)}"


class ListPrinter:
    """struct list_node as a head: the nodes behind it, and what is wrong with the ring."""

    def __init__(self, value):
        self.value = value

    def nodes(self) -> tuple:
        """(addresses, a word about damage or "")."""
        head = int(self.value.address) if self.value.address else 0
        found, before, node = [], head, self.value["next"]
        while int(node) != head:
            if not int(node):
                return found, " broken: null"
            if len(found) == LIST_MOST:
                return found, " or more, or a ring without this head"
            if int(node["previous"]) != before:
                return found, f" broken: {int(node):#x} points back elsewhere"
            found.append(int(node))
            before, node = int(node), node["next"]
        return found, ""

    def to_string(self):
        if not self.value.address:
            return "list node in a register"
        found, damage = self.nodes()
        shown = " ".join(f"{address:#x}" for address in found[:8])
        return f"list of {len(found)}{damage}" + (f": {shown}" if shown else "")


def build() -> gdb.printing.RegexpCollectionPrettyPrinter:
    collection = gdb.printing.RegexpCollectionPrettyPrinter("foliovisor")
    for name in ADDRESSES:
        collection.add_printer(name, f"^{name}$", AddressPrinter)
    collection.add_printer("spte", "^spte(_slot)?_t$", SptePrinter)
    collection.add_printer("pte", "^pte(_slot)?_t$", PtePrinter)
    collection.add_printer("list", "^list_node$", ListPrinter)
    return collection


gdb.printing.register_pretty_printer(gdb.current_objfile(), build(), replace=True)
