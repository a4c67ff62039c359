/*
 * Guest code of the tests, copied to GPA 0x1000 and run there (box.h). A snippet ends, or speaks to
 * its test, by HLT.
 */
	.section .rodata, "a", @progbits

	.macro SNIPPET name
	.global snippet_\name, snippet_\name\()_end
snippet_\name:
	.endm
	.macro END name
snippet_\name\()_end:
	.endm

	.set	WORDS, 0x8000
	.set	CODE, 0x1000

/* ---------------------------------------------------------------- one for each mode */

	.code16
	SNIPPET real
	mov	$0x1234, %ax
	mov	%ax, WORDS
	hlt
	mov	$0x5678, %bx
	hlt
	END real

/* A word that ends behind the segment's limit: #GP. */
	SNIPPET real_fault
	mov	0xffff, %ax
	hlt
	.org	snippet_real_fault + 16
	hlt
	END real_fault

	.code32
	SNIPPET protected
	movl	$0x12345678, WORDS
	mov	$0x89abcdef, %ebx
	hlt
	END protected

	.code64
	SNIPPET long
	mov	$0x123456789abcdef0, %rax
	mov	%rax, WORDS
	mov	%cs, %ebx
	hlt
	END long

/* From real mode to long mode without the hypervisor's help; the GDT is the box's. */
	.code16
	SNIPPET mode_switch
	movl	%cr0, %eax
	movl	%eax, WORDS			/* as it starts */
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$0x18, $(CODE + 1f - snippet_mode_switch)
	.code32
1:	movl	$1, WORDS + 8
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %ss
	mov	%cr4, %eax
	or	$0x20, %eax			/* PAE */
	mov	%eax, %cr4
	mov	$0x10000, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x900, %eax			/* LME, NXE */
	wrmsr
	mov	%cr0, %eax
	or	$0x80000000, %eax
	mov	%eax, %cr0
	ljmp	$0x08, $(CODE + 2f - snippet_mode_switch)
	.code64
2:	mov	$0x1122334455667788, %rax
	mov	%rax, WORDS + 16
	mov	$0xc0000080, %ecx
	rdmsr
	mov	%rax, WORDS + 24
	hlt
	/* And back out of paging, by the same way. */
	ljmp	*3f(%rip)
3:	.long	CODE + 4f - snippet_mode_switch
	.word	0x18
	.code32
4:	mov	%cr0, %eax
	and	$0x7fffffff, %eax
	mov	%eax, %cr0
	mov	$0xc0000080, %ecx
	rdmsr
	mov	%eax, WORDS + 32
	hlt
	END mode_switch

/* ---------------------------------------------------------------- loops */

	.code64
/* Counts for ever, interrupts off. */
	SNIPPET count
1:	incq	WORDS
	jmp	1b
	END count

/* Copies the word at RSI to the one at RDI, and counts, for ever. */
	SNIPPET watch
1:	mov	(%rsi), %rax
	mov	%rax, (%rdi)
	incq	8(%rdi)
	jmp	1b
	END watch

/* Nothing but exits that vmx answers, for ever, interrupts off. */
	SNIPPET invd
1:	invd
	jmp	1b
	END invd

	.code32
/* Stores to a word of each of ECX pages from ESI on. */
	SNIPPET store_pages
1:	mov	%esi, (%esi)
	add	$4096, %esi
	dec	%ecx
	jnz	1b
	hlt
	END store_pages

/*
 * A turn of the content oracle: ECX accesses from ESI on, struct oracle_access
 * (tests/host/oracle.h), by halves of a word. Slowly: so that harvests come while
 * the CPU has translations cached.
 */
	SNIPPET oracle_turn
1:	mov	(%esi), %edi
	testb	$1, 8(%esi)
	jz	2f
	mov	(%edi), %eax
	mov	4(%edi), %edx
	mov	%eax, 24(%esi)
	mov	%edx, 28(%esi)
2:	testb	$2, 8(%esi)
	jz	3f
	mov	16(%esi), %eax
	mov	20(%esi), %edx
	mov	%eax, (%edi)
	mov	%edx, 4(%edi)
3:	mov	$20, %eax
4:	dec	%eax
	jnz	4b
	add	$32, %esi
	dec	%ecx
	jnz	1b
	hlt
	END oracle_turn

	SNIPPET watch32
1:	mov	(%esi), %eax
	mov	%eax, (%edi)
	incl	8(%edi)
	jmp	1b
	END watch32

	.code64
/* CPUID leaf 0, for ever: the cost of an exit. The same bytes in 32-bit mode. */
	SNIPPET cpuid
1:	xor	%eax, %eax
	cpuid
	jmp	1b
	END cpuid

/* The same loop and no exit. */
	SNIPPET no_cpuid
	mov	$1000, %esi
1:	xor	%eax, %eax
	dec	%esi
	jnz	1b
	hlt
	END no_cpuid

/* ---------------------------------------------------------------- single instructions */

	SNIPPET rdtsc
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	hlt
	END rdtsc

	SNIPPET rdmsr
	rdmsr
	hlt
	END rdmsr

	SNIPPET wrmsr
	wrmsr
	hlt
	END wrmsr

	SNIPPET ports
	mov	$0x80, %dx
	mov	$0x5a, %al
	out	%al, %dx
	in	$0x81, %ax
	mov	$0x8002, %dx
	out	%eax, %dx
	mov	$WORDS, %esi
	mov	$3, %ecx
	rep	outsb
	hlt
	END ports

/* Reads, writes, calls what RSI points to. */
	SNIPPET read
	mov	(%rsi), %rax
	hlt
	END read
	SNIPPET write
	mov	%rax, (%rsi)
	hlt
	END write
	SNIPPET call
	call	*%rsi
	hlt
	END call

/*
 * Steps of tests/host/agree.h at RSI, 24 bytes each: what to do, where, with what. 1 reads, 2
 * writes, 3 exchanges, 4 calls, 5 clears bits, 0 ends.
 */
	SNIPPET steps
1:	mov	(%rsi), %ecx
	mov	8(%rsi), %rdi
	mov	16(%rsi), %rax
	cmp	$1, %ecx
	jb	9f
	je	2f
	cmp	$3, %ecx
	jb	3f
	je	4f
	cmp	$5, %ecx
	jb	5f
	not	%rax
	lock and	%rax, (%rdi)
	jmp	8f
2:	mov	(%rdi), %rax
	mov	%rax, 16(%rsi)
	jmp	8f
3:	mov	%rax, (%rdi)
	jmp	8f
4:	xchg	%rax, (%rdi)
	mov	%rax, 16(%rsi)
	jmp	8f
5:	call	*%rdi
8:	add	$24, %rsi
	jmp	1b
9:	hlt
	END steps

	SNIPPET vmcall
	vmcall
	hlt
	END vmcall

	SNIPPET invd_rdpmc
	invd
	mov	$1, %esi
	rdpmc
	hlt
	.org	snippet_invd_rdpmc + 16
	pop	%rbx
	pop	%rcx
	hlt
	END invd_rdpmc

/* ---------------------------------------------------------------- state across exits */

/*
 * RAX goes into every kind of register that vmx has to keep, then two exits, then back: XMM15, the
 * x87 stack, MM, DR0, KERNEL_GS_BASE, LSTAR, CR2 into R8..R13. RDI: scratch of this vCPU.
 */
	SNIPPET state
	mov	%cr4, %rbx
	or	$0x600, %rbx			/* OSFXSR, OSXMMEXCPT */
	mov	%rbx, %cr4
	fninit
	mov	%rax, %rbp
	movq	%rax, %xmm15
	mov	%rax, (%rdi)
	fildq	(%rdi)
	mov	%rax, %dr0
	mov	%rax, %cr2
	mov	%rax, %rdx
	shr	$32, %rdx
	mov	$0xc0000102, %ecx
	wrmsr
	mov	$0xc0000082, %ecx
	wrmsr
	hlt
	cpuid
	movq	%xmm15, %r8
	fistpq	(%rdi)
	mov	(%rdi), %r9
	mov	%dr0, %r10
	mov	$0xc0000102, %ecx
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, %r11
	mov	$0xc0000082, %ecx
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, %r12
	mov	%cr2, %r13
	hlt
	END state

/* EFER from RSI, PAT from RDI, exits, back into R8 and R9. */
	SNIPPET efer_pat
	mov	$0xc0000080, %ecx
	mov	%rsi, %rax
	mov	%rsi, %rdx
	shr	$32, %rdx
	wrmsr
	mov	$0x277, %ecx
	mov	%rdi, %rax
	mov	%rdi, %rdx
	shr	$32, %rdx
	wrmsr
	hlt
	mov	$0xc0000080, %ecx
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, %r8
	mov	$0x277, %ecx
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, %r9
	hlt
	END efer_pat

/* XCR0 = x87, SSE, AVX; RAX into the upper half of YMM3 by way of (RDI); after a HLT back. */
	SNIPPET ymm
	mov	%rax, %rbx
	mov	%cr4, %rax
	or	$0x40600, %rax			/* OSXSAVE too */
	mov	%rax, %cr4
	mov	$7, %eax
	xor	%edx, %edx
	xor	%ecx, %ecx
	xsetbv
	mov	%rbx, 16(%rdi)
	vmovdqu	(%rdi), %ymm3
	movq	$0, 16(%rdi)
	hlt
	vmovdqu	%ymm3, (%rdi)
	mov	16(%rdi), %r8
	hlt
	END ymm

/* ---------------------------------------------------------------- control registers */

/* CD and NW on, look, off, look. */
	SNIPPET cache_disable
	mov	%cr0, %rax
	or	$0x60000000, %rax
	mov	%rax, %cr0
	mov	%cr0, %r8
	hlt
	and	$~0x60000000, %rax
	mov	%rax, %cr0
	mov	%cr0, %r9
	hlt
	END cache_disable

/* RAX to CR0; the handler of #GP, 16 bytes in, leaves the error code in RBX. */
	SNIPPET mov_cr0
	mov	%rax, %cr0
	hlt
	.org	snippet_mov_cr0 + 16
	pop	%rbx
	pop	%rcx
	hlt
	END mov_cr0

	SNIPPET mov_cr4
	mov	%rax, %cr4
	hlt
	.org	snippet_mov_cr4 + 16
	pop	%rbx
	pop	%rcx
	hlt
	END mov_cr4

/* ---------------------------------------------------------------- events */

/* HLT; the handler, 16 bytes in, takes the error code to RBX, RIP to RCX. */
	SNIPPET handler
	hlt
	hlt
	.org	snippet_handler + 16
	pop	%rbx
	pop	%rcx
	hlt
	END handler

/* STI with an exit in its shadow; the handler, 32 bytes in, counts in RBX. */
	SNIPPET interrupt
	cpuid
	sti
	cpuid
	nop
	nop
	mov	$1, %esi
	hlt
	.org	snippet_interrupt + 32
	inc	%ebp
	hlt
	iretq
	END interrupt

/* INT1; the handler of #DB, 16 bytes in, takes RIP to RBX. */
	SNIPPET int1
	nop
	.byte	0xf1
	hlt
	.org	snippet_int1 + 16
	pop	%rbx
	hlt
	END int1

/* MOV SS, then TF's step and INT1 in one; handler as above. */
	SNIPPET int1_in_shadow
	pushfq
	orq	$0x100, (%rsp)
	mov	%ss, %ecx
	popfq
	mov	%ecx, %ss
	.byte	0xf1
	hlt
	.org	snippet_int1_in_shadow + 32
	pop	%rbx
	hlt
	END int1_in_shadow

/* Steps over an instruction that exits; the handler, 32 bytes in, takes RIP to RBX, DR6 to R8. */
	SNIPPET step_cpuid
	mov	$0x102, %edi
	push	%rdi
	popfq
	cpuid
	nop
	hlt
	.org	snippet_step_cpuid + 32
	mov	%dr6, %r8
	pop	%rbx
	hlt
	END step_cpuid

/* MCE off and on again, as a guest sees it. */
	SNIPPET mce
	mov	%cr4, %rax
	or	$0x40, %rax
	mov	%rax, %cr4
	mov	%cr4, %r8
	hlt
	and	$~0x40, %rax
	mov	%rax, %cr4
	mov	%cr4, %r9
	hlt
	END mce

	SNIPPET cr8
	mov	%rax, %cr8
	mov	%cr8, %rbx
	hlt
	END cr8

/* Single steps by TF; the handler of #DB, 64 bytes in, leaves DR6 in R8. */
	SNIPPET step
	pushfq
	orq	$0x100, (%rsp)
	popfq
	nop
1:	jmp	1b
	.org	snippet_step + 64
	mov	%dr6, %r8
	pop	%rcx
	hlt
	END step

	.section .note.GNU-stack, "", @progbits
