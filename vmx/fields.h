/*
 * The VMCS fields that foliovisor uses, by encoding and SDM name. SDM appendix "Field Encoding
 * in VMCS". Width and kind are in the encoding, so that nothing else needs saying here.
 */
#ifndef VMX_FIELDS_H
#define VMX_FIELDS_H

#define VMCS_FIELDS(FIELD)                                                                  \
	FIELD(VPID,                  0x0000, "virtual-processor identifier")                \
	FIELD(GUEST_ES,              0x0800, "guest ES selector")                           \
	FIELD(GUEST_CS,              0x0802, "guest CS selector")                           \
	FIELD(GUEST_SS,              0x0804, "guest SS selector")                           \
	FIELD(GUEST_DS,              0x0806, "guest DS selector")                           \
	FIELD(GUEST_FS,              0x0808, "guest FS selector")                           \
	FIELD(GUEST_GS,              0x080a, "guest GS selector")                           \
	FIELD(GUEST_LDTR,            0x080c, "guest LDTR selector")                         \
	FIELD(GUEST_TR,              0x080e, "guest TR selector")                           \
	FIELD(PML_INDEX,             0x0812, "PML index")                                   \
	FIELD(HOST_ES,               0x0c00, "host ES selector")                            \
	FIELD(HOST_CS,               0x0c02, "host CS selector")                            \
	FIELD(HOST_SS,               0x0c04, "host SS selector")                            \
	FIELD(HOST_DS,               0x0c06, "host DS selector")                            \
	FIELD(HOST_FS,               0x0c08, "host FS selector")                            \
	FIELD(HOST_GS,               0x0c0a, "host GS selector")                            \
	FIELD(HOST_TR,               0x0c0c, "host TR selector")                            \
	FIELD(IO_BITMAP_A,           0x2000, "address of I/O bitmap A")                     \
	FIELD(IO_BITMAP_B,           0x2002, "address of I/O bitmap B")                     \
	FIELD(MSR_BITMAP,            0x2004, "address of MSR bitmaps")                      \
	FIELD(PML_ADDRESS,           0x200e, "PML address")                                 \
	FIELD(TSC_OFFSET,            0x2010, "TSC offset")                                  \
	FIELD(EPT_POINTER,           0x201a, "EPT pointer")                                 \
	FIELD(GUEST_PHYSICAL,        0x2400, "guest-physical address")                      \
	FIELD(LINK_POINTER,          0x2800, "VMCS link pointer")                           \
	FIELD(GUEST_DEBUGCTL,        0x2802, "guest IA32_DEBUGCTL")                         \
	FIELD(GUEST_PAT,             0x2804, "guest IA32_PAT")                              \
	FIELD(GUEST_EFER,            0x2806, "guest IA32_EFER")                             \
	FIELD(GUEST_PDPTE0,          0x280a, "guest PDPTE0")                                \
	FIELD(GUEST_PDPTE1,          0x280c, "guest PDPTE1")                                \
	FIELD(GUEST_PDPTE2,          0x280e, "guest PDPTE2")                                \
	FIELD(GUEST_PDPTE3,          0x2810, "guest PDPTE3")                                \
	FIELD(HOST_PAT,              0x2c00, "host IA32_PAT")                               \
	FIELD(HOST_EFER,             0x2c02, "host IA32_EFER")                              \
	FIELD(PIN_CONTROLS,          0x4000, "pin-based VM-execution controls")             \
	FIELD(PRIMARY_CONTROLS,      0x4002, "primary processor-based VM-execution controls") \
	FIELD(EXCEPTION_BITMAP,      0x4004, "exception bitmap")                            \
	FIELD(PAGE_FAULT_MASK,       0x4006, "page-fault error-code mask")                  \
	FIELD(PAGE_FAULT_MATCH,      0x4008, "page-fault error-code match")                 \
	FIELD(CR3_TARGET_COUNT,      0x400a, "CR3-target count")                            \
	FIELD(EXIT_CONTROLS,         0x400c, "VM-exit controls")                            \
	FIELD(EXIT_MSR_STORE_COUNT,  0x400e, "VM-exit MSR-store count")                     \
	FIELD(EXIT_MSR_LOAD_COUNT,   0x4010, "VM-exit MSR-load count")                      \
	FIELD(ENTRY_CONTROLS,        0x4012, "VM-entry controls")                           \
	FIELD(ENTRY_MSR_LOAD_COUNT,  0x4014, "VM-entry MSR-load count")                     \
	FIELD(ENTRY_EVENT,           0x4016, "VM-entry interruption-information field")     \
	FIELD(ENTRY_ERROR_CODE,      0x4018, "VM-entry exception error code")               \
	FIELD(ENTRY_LENGTH,          0x401a, "VM-entry instruction length")                 \
	FIELD(SECONDARY_CONTROLS,    0x401e, "secondary processor-based VM-execution controls") \
	FIELD(INSTRUCTION_ERROR,     0x4400, "VM-instruction error")                        \
	FIELD(EXIT_REASON,           0x4402, "exit reason")                                 \
	FIELD(EXIT_EVENT,            0x4404, "VM-exit interruption information")            \
	FIELD(EXIT_ERROR_CODE,       0x4406, "VM-exit interruption error code")             \
	FIELD(VECTORING_EVENT,       0x4408, "IDT-vectoring information field")             \
	FIELD(VECTORING_ERROR_CODE,  0x440a, "IDT-vectoring error code")                    \
	FIELD(EXIT_LENGTH,           0x440c, "VM-exit instruction length")                  \
	FIELD(GUEST_ES_LIMIT,        0x4800, "guest ES limit")                              \
	FIELD(GUEST_CS_LIMIT,        0x4802, "guest CS limit")                              \
	FIELD(GUEST_SS_LIMIT,        0x4804, "guest SS limit")                              \
	FIELD(GUEST_DS_LIMIT,        0x4806, "guest DS limit")                              \
	FIELD(GUEST_FS_LIMIT,        0x4808, "guest FS limit")                              \
	FIELD(GUEST_GS_LIMIT,        0x480a, "guest GS limit")                              \
	FIELD(GUEST_LDTR_LIMIT,      0x480c, "guest LDTR limit")                            \
	FIELD(GUEST_TR_LIMIT,        0x480e, "guest TR limit")                              \
	FIELD(GUEST_GDTR_LIMIT,      0x4810, "guest GDTR limit")                            \
	FIELD(GUEST_IDTR_LIMIT,      0x4812, "guest IDTR limit")                            \
	FIELD(GUEST_ES_ACCESS,       0x4814, "guest ES access rights")                      \
	FIELD(GUEST_CS_ACCESS,       0x4816, "guest CS access rights")                      \
	FIELD(GUEST_SS_ACCESS,       0x4818, "guest SS access rights")                      \
	FIELD(GUEST_DS_ACCESS,       0x481a, "guest DS access rights")                      \
	FIELD(GUEST_FS_ACCESS,       0x481c, "guest FS access rights")                      \
	FIELD(GUEST_GS_ACCESS,       0x481e, "guest GS access rights")                      \
	FIELD(GUEST_LDTR_ACCESS,     0x4820, "guest LDTR access rights")                    \
	FIELD(GUEST_TR_ACCESS,       0x4822, "guest TR access rights")                      \
	FIELD(GUEST_INTERRUPTIBILITY, 0x4824, "guest interruptibility state")               \
	FIELD(GUEST_ACTIVITY,        0x4826, "guest activity state")                        \
	FIELD(GUEST_SYSENTER_CS,     0x482a, "guest IA32_SYSENTER_CS")                      \
	FIELD(TIMER,                 0x482e, "VMX-preemption timer value")                  \
	FIELD(HOST_SYSENTER_CS,      0x4c00, "host IA32_SYSENTER_CS")                       \
	FIELD(CR0_MASK,              0x6000, "CR0 guest/host mask")                         \
	FIELD(CR4_MASK,              0x6002, "CR4 guest/host mask")                         \
	FIELD(CR0_SHADOW,            0x6004, "CR0 read shadow")                             \
	FIELD(CR4_SHADOW,            0x6006, "CR4 read shadow")                             \
	FIELD(QUALIFICATION,         0x6400, "exit qualification")                          \
	FIELD(GUEST_LINEAR,          0x640a, "guest-linear address")                        \
	FIELD(GUEST_CR0,             0x6800, "guest CR0")                                   \
	FIELD(GUEST_CR3,             0x6802, "guest CR3")                                   \
	FIELD(GUEST_CR4,             0x6804, "guest CR4")                                   \
	FIELD(GUEST_ES_BASE,         0x6806, "guest ES base")                               \
	FIELD(GUEST_CS_BASE,         0x6808, "guest CS base")                               \
	FIELD(GUEST_SS_BASE,         0x680a, "guest SS base")                               \
	FIELD(GUEST_DS_BASE,         0x680c, "guest DS base")                               \
	FIELD(GUEST_FS_BASE,         0x680e, "guest FS base")                               \
	FIELD(GUEST_GS_BASE,         0x6810, "guest GS base")                               \
	FIELD(GUEST_LDTR_BASE,       0x6812, "guest LDTR base")                             \
	FIELD(GUEST_TR_BASE,         0x6814, "guest TR base")                               \
	FIELD(GUEST_GDTR_BASE,       0x6816, "guest GDTR base")                             \
	FIELD(GUEST_IDTR_BASE,       0x6818, "guest IDTR base")                             \
	FIELD(GUEST_DR7,             0x681a, "guest DR7")                                   \
	FIELD(GUEST_RSP,             0x681c, "guest RSP")                                   \
	FIELD(GUEST_RIP,             0x681e, "guest RIP")                                   \
	FIELD(GUEST_RFLAGS,          0x6820, "guest RFLAGS")                                \
	FIELD(GUEST_PENDING_DEBUG,   0x6822, "guest pending debug exceptions")              \
	FIELD(GUEST_SYSENTER_ESP,    0x6824, "guest IA32_SYSENTER_ESP")                     \
	FIELD(GUEST_SYSENTER_EIP,    0x6826, "guest IA32_SYSENTER_EIP")                     \
	FIELD(HOST_CR0,              0x6c00, "host CR0")                                    \
	FIELD(HOST_CR3,              0x6c02, "host CR3")                                    \
	FIELD(HOST_CR4,              0x6c04, "host CR4")                                    \
	FIELD(HOST_FS_BASE,          0x6c06, "host FS base")                                \
	FIELD(HOST_GS_BASE,          0x6c08, "host GS base")                                \
	FIELD(HOST_TR_BASE,          0x6c0a, "host TR base")                                \
	FIELD(HOST_GDTR_BASE,        0x6c0c, "host GDTR base")                              \
	FIELD(HOST_IDTR_BASE,        0x6c0e, "host IDTR base")                              \
	FIELD(HOST_SYSENTER_ESP,     0x6c10, "host IA32_SYSENTER_ESP")                      \
	FIELD(HOST_SYSENTER_EIP,     0x6c12, "host IA32_SYSENTER_EIP")                      \
	FIELD(HOST_RSP,              0x6c14, "host RSP")                                    \
	FIELD(HOST_RIP,              0x6c16, "host RIP")

enum vmcs_field {
#define FIELD(name, encoding, text) VMCS_##name = encoding,
	VMCS_FIELDS(FIELD)
#undef FIELD
};

/* The fields of segment n (SDM order ES CS SS DS FS GS LDTR TR) stand two apart. */
#define VMCS_SEGMENT(first, n) ((enum vmcs_field)((first) + 2 * (unsigned)(n)))

#endif
