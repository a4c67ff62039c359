/* Names for addresses, in backtraces. The table is sorted, and made by boot/symbols.awk. */
#include "boot/layout.h"
#include "boot/parts.h"

struct symbol { uint64_t address; const char *name; };

extern const struct symbol symbols_start[], symbols_end[];

const char *symbol_find(uint64_t address, uint64_t *offset)
{
	const struct symbol *low = symbols_start, *high = symbols_end;

	if (address < (uint64_t)image_start || address >= (uint64_t)image_text_end)
		return NULL;
	while (low < high) {		/* the first one above the address */
		const struct symbol *middle = low + (high - low) / 2;

		if (middle->address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == symbols_start)
		return NULL;
	*offset = address - low[-1].address;
	return low[-1].name;
}
