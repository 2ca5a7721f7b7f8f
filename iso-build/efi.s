# What UEFI firmware starts: the command line, the initramfs and the kernel as one PE file, and the few
# instructions that hand the first two to the third (a unified kernel image; the sections have the names of the UAPI
# group's specification). One signature over the file covers all of it, so the firmware's own options are
# not looked at. efi.ld lays it out; sources: PE format; UEFI 2.10, 4.3 and 7.2; Linux's boot protocol, "EFI handover
# protocol" (Documentation/x86/boot.rst).
.code64
.intel_syntax noprefix

# Offsets in the kernel's file and in its boot parameters, where its setup header has the same place.
.set SETUP_SECTORS, 0x1f1
.set HEADER_END, 0x201          # counted from 0x202
.set LOADER_TYPE, 0x210
.set CODE32_START, 0x214
.set RAMDISK_IMAGE, 0x218
.set RAMDISK_SIZE, 0x21c
.set CMD_LINE_PTR, 0x228
.set HANDOVER_OFFSET, 0x264
.set EXT_RAMDISK_IMAGE, 0xc0
.set EXT_CMD_LINE_PTR, 0xc8
.set PARAMETERS, 4096
# Past the kernel's 32-bit entry.
.set ENTRY64, 0x200

# UEFI's tables and numbers.
.set BOOT_SERVICES, 96
.set ALLOCATE_PAGES, 40
.set ALLOCATE_MAX_ADDRESS, 1
.set LOADER_DATA, 2

.section .header, "a"
    .ascii "MZ"
    .zero 58
    .long coff
coff:
    .ascii "PE\0\0"
    .word 0x8664, (sections_end - sections) / 40
    .long 0, 0, 0               # no time: two builds are the same bytes
    .word sections - optional
    .word 0x22e                 # executable, no symbols, large addresses
optional:
    .word 0x20b
    .byte 0, 0
    .long text_size, 0, 0
    .long entry_place, text_place
    .quad 0
    .long 4096, 512
    .word 0, 0, 0, 0, 0, 0
    .long 0
    .long image_size, headers_size, 0
    .word 10, 0                 # an EFI application
    .quad 0, 0, 0, 0
    .long 0, (sections - directories) / 8
directories:
    .zero 5 * 8
    .long relocations_place, relocations_end - relocations
    .zero 10 * 8
sections:
.macro section name, place, size, at, at_size, flags
    .ascii "\name"
    .org sections + 8 + 40 * count
    .long \size, \place, \at_size, \at, 0, 0, 0, \flags
    .set count, count + 1
.endm
.set count, 0
    section ".text", text_place, text_size, text_at, text_size, 0x60000020
    section ".cmdline", cmdline_place, cmdline_size, cmdline_at, cmdline_size, 0x40000040
    section ".initrd", initrd_place, initrd_size, initrd_at, initrd_size, 0x40000040
    # In memory it has all that the kernel may take: its own variables follow its file.
    section ".linux", linux_place, linux_memory, linux_at, linux_size, 0xe0000020
sections_end:

.section .text, "ax"
# EFI_STATUS entry(rcx: image, rdx: system table)
.globl entry, relocations
entry:
    push rbx
    push rsi
    push rdi
    mov rbx, rcx
    mov rdi, rdx
    sub rsp, 48                 # four arguments' room, a variable
    mov eax, 0xffffffff
    mov [rsp + 40], rax
    mov ecx, ALLOCATE_MAX_ADDRESS
    mov edx, LOADER_DATA
    mov r8d, PARAMETERS / 4096
    lea r9, [rsp + 40]
    mov rax, [rdi + BOOT_SERVICES]
    call [rax + ALLOCATE_PAGES]
    test rax, rax
    jz 1f
    # The firmware says what the number means.
    add rsp, 48
    pop rdi
    pop rsi
    pop rbx
    ret

1:  mov r8, rdi
    mov rdx, [rsp + 40]
    mov rdi, rdx
    xor eax, eax
    mov ecx, PARAMETERS / 8
    rep stosq
    lea r9, [rip + linux]
    lea rsi, [r9 + SETUP_SECTORS]
    lea rdi, [rdx + SETUP_SECTORS]
    movzx ecx, byte ptr [r9 + HEADER_END]
    add ecx, HEADER_END + 1 - SETUP_SECTORS
    rep movsb

    mov byte ptr [rdx + LOADER_TYPE], 0xff
    lea rax, [rip + cmdline]
    mov [rdx + CMD_LINE_PTR], eax
    shr rax, 32
    mov [rdx + EXT_CMD_LINE_PTR], eax
    lea rax, [rip + initrd]
    mov [rdx + RAMDISK_IMAGE], eax
    shr rax, 32
    mov [rdx + EXT_RAMDISK_IMAGE], eax
    mov dword ptr [rdx + RAMDISK_SIZE], offset initrd_bytes
    movzx eax, byte ptr [r9 + SETUP_SECTORS]
    inc eax
    shl eax, 9
    add rax, r9
    mov [rdx + CODE32_START], eax
    mov ecx, [r9 + HANDOVER_OFFSET]
    add rax, rcx
    add rax, ENTRY64
    mov rdi, rbx
    mov rsi, r8
    jmp rax

.balign 4
# None, but some firmware wants there to be a table of them.
relocations:
    .long 0, relocations_end - relocations, 0
relocations_end:

.section .cmdline, "a"
.globl cmdline
cmdline:
    .incbin "cmdline"
    .byte 0

.section .initrd, "a"
initrd:
    .incbin "initramfs"
.set initrd_bytes, . - initrd

.section .linux, "a"
linux:
    .incbin "vmlinuz"
