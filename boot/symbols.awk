# The second link's symbol table: `nm -n` of the first link in, assembly for boot/symbols.c out.
# Only functions: their addresses are the same in both links (linker.ld puts code first).
$2 ~ /^[tT]$/ {
	n++
	names = names sprintf(".Lname%d:\n\t.asciz \"%s\"\n", n, $3)
	printf "\t.section symbols, \"a\"\n\t.quad 0x%s, .Lname%d\n", $1, n
}
END {
	print "\t.section symbol_names, \"a\""
	print names
	print "\t.section .note.GNU-stack, \"\", @progbits"
}
