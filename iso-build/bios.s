# What a BIOS starts: a boot loader for one kernel and one initramfs whose places are known. No menu, no
# file system, no configuration. iso.sh fills in the places.
#
# One sector of 2048 bytes, `loader`, does the work. A CD-ROM's BIOS loads it (El Torito, no emulation);
# a disk's loads the 440 bytes of `record`, which load it. Sources: El Torito 1.0; the BIOS's calls 13/42
# (extended read), 15/2401 (address line 20), 15/E820 (memory); Linux's boot protocol
# (Documentation/x86/boot.rst).
#
# Memory: 0x9000 the loader (clear of where it comes from), 0x10000 the kernel's real-mode part with its
# heap, stack and command line (64 KiB), 0x20000 what has been read, 0x100000 the rest of the kernel; the
# initramfs as high as the kernel allows.
.code16
.intel_syntax noprefix

.set LOADED_BY_BIOS, 0x7c00
.set SECTOR, 2048
.set SETUP, 0x1000              # segment of the kernel's real-mode part
.set BUFFER, 0x2000             # segment of what has been read
.set PIECE, 0x8000              # bytes read at once: what every BIOS can, and the longest setup
.set HEAP_END, 0xe000           # in SETUP: its stack is below
.set KERNEL, 0x100000
.set HIGH, 0x1000000            # memory is looked for here
.set RETRIES, 5

# Offsets in the kernel's setup header.
.set SETUP_SECTORS, 0x1f1
.set MAGIC, 0x202
.set LOADER_TYPE, 0x210
.set LOAD_FLAGS, 0x211
.set RAMDISK_IMAGE, 0x218
.set RAMDISK_SIZE, 0x21c
.set HEAP_END_PTR, 0x224
.set CMD_LINE_PTR, 0x228
.set INITRD_ADDR_MAX, 0x22c
.set PREF_ADDRESS, 0x258
.set INIT_SIZE, 0x260
.set CAN_USE_HEAP, 0x80

# What a BIOS leaves in these registers is its own affair. dl has the drive.
.macro known_state
    cli
    xor ax, ax
    mov ss, ax
    mov sp, LOADED_BY_BIOS
    mov ds, ax
    mov es, ax
    sti
    cld
.endm

.section .record, "ax"
record:
    jmp 1f
.org record + 8
packet_of_record:
    .word 16, SECTOR / 512
    .word loader, 0
    .quad 0                     # iso.sh: the loader's place, in sectors of 512 bytes
1:  known_state
    mov cx, RETRIES
1:  mov si, offset packet_of_record
    mov ah, 0x42
    int 0x13
    jnc 2f
    loop 1b
    mov si, offset text_of_record
3:  lodsb
    test al, al
    jz 4f
    mov ah, 0x0e
    mov bx, 7
    int 0x10
    jmp 3b
4:  hlt
    jmp 4b
2:  mov byte ptr [shift], 2     # a disk's sectors have 512 bytes
    jmp 0:main
text_of_record:
    .asciz "tether: this disk cannot be read\r\n"
.org record + 440               # the partition table follows

.section .loader, "ax"
loader:
    jmp 1f
.org loader + 4
# iso.sh: places in sectors of 2048 bytes, sizes in bytes, the sums of their words of 32 bits.
at_kernel:
    .long 0
size_kernel:
    .long 0
sum_kernel:
    .long 0
at_initramfs:
    .long 0
size_initramfs:
    .long 0
sum_initramfs:
    .long 0
1:  known_state
    mov si, LOADED_BY_BIOS
    mov di, offset loader
    mov cx, SECTOR / 2
    rep movsw
    jmp 0:main

main:
    mov [drive], dl

    # The 21st address line: the BIOS has it opened, or does, or a port of the board does.
    call a20
    je 1f
    mov ax, 0x2401
    int 0x15
    call a20
    je 1f
    in al, 0x92
    or al, 2
    and al, 0xfe                # not a reset
    out 0x92, al
    call a20
    mov si, offset text_a20
    jne fail
1:
    # The kernel: its first piece goes below, what comes after the setup above.
    mov eax, [at_kernel]
    mov ecx, PIECE
    call read
    push ds
    push BUFFER
    pop ds
    cmp dword ptr [MAGIC], 0x53726448 # HdrS
    mov al, [SETUP_SECTORS]
    pop ds
    mov si, offset text_no_kernel
    jne fail
    cmp al, PIECE / 512
    jae fail
    inc ax                      # the boot sector
    movzx eax, al
    shl eax, 9
    mov edi, KERNEL
    sub edi, eax
    push ds
    push es
    push BUFFER
    pop ds
    push SETUP
    pop es
    push edi
    xor si, si
    xor di, di
    mov ecx, eax
    shr cx, 1
    rep movsw
    pop edi
    pop es
    pop ds

    # Piece by piece to KERNEL - setup, but not what is below KERNEL: there is the BIOS.
    mov esi, eax                # bytes of a piece that are not copied
    mov eax, [at_kernel]
    mov ecx, [size_kernel]
    mov ebx, [sum_kernel]
    call load

    # The initramfs: at the end of the memory that goes on from HIGH, below what the kernel allows.
    xor ebx, ebx
1:  mov eax, 0xe820
    mov edx, 0x534d4150         # SMAP
    mov ecx, 20
    mov di, offset range
    int 0x15
    mov si, offset text_memory
    jc fail
    cmp dword ptr [range + 16], 1
    jne 2f
    mov eax, [range]
    mov edx, [range + 4]
    cmp eax, HIGH
    ja 2f
    test edx, edx
    jnz 2f
    add eax, [range + 8]
    adc edx, [range + 12]
    jnz 3f                      # it goes beyond 4 GiB
    cmp eax, HIGH
    ja 4f
2:  test ebx, ebx
    jnz 1b
    jmp fail
3:  or eax, -1
4:  push SETUP
    pop fs
    mov edx, fs:[INITRD_ADDR_MAX]
    cmp eax, edx
    jb 5f
    mov eax, edx
5:  sub eax, [size_initramfs]
    jb fail
    and eax, -4096
    mov edx, fs:[PREF_ADDRESS]
    add edx, fs:[INIT_SIZE]
    cmp eax, edx
    jb fail
    mov edi, eax
    mov fs:[RAMDISK_IMAGE], eax
    mov ecx, [size_initramfs]
    mov fs:[RAMDISK_SIZE], ecx
    mov eax, [at_initramfs]
    mov ebx, [sum_initramfs]
    xor esi, esi
    call load

    # What the setup wants to know.
    mov byte ptr fs:[LOADER_TYPE], 0xff
    or byte ptr fs:[LOAD_FLAGS], CAN_USE_HEAP
    mov word ptr fs:[HEAP_END_PTR], HEAP_END - 0x200
    mov dword ptr fs:[CMD_LINE_PTR], SETUP * 16 + HEAP_END
    push fs
    pop es
    mov si, offset command_line
    mov di, HEAP_END
    mov cx, offset loader + SECTOR
    sub cx, si
    rep movsb

    cli
    mov ax, fs
    mov ds, ax
    mov es, ax
    mov gs, ax
    mov ss, ax
    mov sp, HEAP_END
    .byte 0xea                  # jmp (SETUP + 0x20):0
    .word 0, SETUP + 0x20

# Equal: what is written at 1 MiB above a word of ours is not in that word.
a20:
    push es
    mov ax, 0xffff
    mov es, ax
    mov word ptr [probe], 1
    mov word ptr es:[probe + 16], 2
    cmp word ptr [probe], 1
    pop es
    ret

# Loads a file: eax its place in sectors of 2048 bytes, ecx its size, ebx its sum, edi where to, esi how many bytes of
# its first piece are left out there.
load:
    mov [sum], ebx
1:  push ecx
    cmp ecx, PIECE
    jbe 2f
    mov ecx, PIECE
2:  call read
    # A BIOS may say that it has read what is past the end.
    pushad
    push ds
    push BUFFER
    pop ds
    xor si, si
    xor ebx, ebx
    add cx, 3
    shr cx, 2
3:  lodsd
    add ebx, eax
    loop 3b
    pop ds
    sub [sum], ebx
    popad
    pushad
    sub ecx, esi
    add edi, esi
    add esi, BUFFER * 16
    add ecx, 3                  # three bytes more are nobody's
    shr ecx, 2
    # Segments of 4 GiB, for this copy: no BIOS's limits count.
    cli
    push ds
    push es
    lgdt [table_place]
    mov eax, cr0
    inc ax
    mov cr0, eax
    mov bx, 8
    mov ds, bx
    mov es, bx
    dec ax
    mov cr0, eax
    addr32 rep movsd
    pop es
    pop ds
    sti
    popad
    xor esi, esi
    add eax, PIECE / SECTOR
    add edi, PIECE
    pop ecx
    sub ecx, PIECE
    ja 1b
    cmp dword ptr [sum], 0
    mov si, offset text_damaged
    jne fail
    ret

# Reads into the buffer: eax the place in sectors of 2048 bytes, ecx bytes. Changes nothing else.
read:
    pushad
    add ecx, SECTOR - 1
    shr ecx, 11
    movzx bx, byte ptr [shift]
    xchg ebx, ecx
    shl eax, cl
    shl ebx, cl
    mov [packet + 2], bx
    mov [packet + 8], eax
    mov cx, RETRIES
1:  push cx
    mov si, offset packet
    mov dl, [drive]
    mov ah, 0x42
    int 0x13
    pop cx
    jnc 2f
    xor ah, ah
    mov dl, [drive]
    push cx
    int 0x13
    pop cx
    loop 1b
    mov si, offset text_read
    jmp fail
2:  popad
    ret

# Says what is wrong (si) on the screen and on the second serial port, and starts the machine again after ten seconds,
# as nobody is there to do it.
fail:
    xor ax, ax
    mov ds, ax
    cmp word ptr [0x402], 0     # the BIOS's list of serial ports
    je 1f
    mov dx, 0x2fb
    mov al, 0x80
    out dx, al
    mov dx, 0x2f8
    mov al, 1                   # 115200
    out dx, al
    inc dx
    xor al, al
    out dx, al
    mov dx, 0x2fb
    mov al, 3                   # 8 bits, no parity, one stop bit
    out dx, al
1:  push si
    mov si, offset text_tether
    call say
    pop si
    call say
    mov si, offset text_end
    call say
    sti
    mov bx, [0x46c]             # the BIOS's clock: 18.2 a second
2:  hlt
    mov ax, [0x46c]
    sub ax, bx
    cmp ax, 182
    jb 2b
    jmp 0xffff:0

say:
    lodsb
    test al, al
    jz 4f
    push ax
    mov ah, 0x0e
    mov bx, 7
    int 0x10
    pop ax
    cmp word ptr [0x402], 0
    je say
    mov ah, al
    mov dx, 0x2fd
    mov cx, 0xffff
3:  in al, dx
    test al, 0x20               # room for a byte
    loopz 3b
    mov dx, 0x2f8
    mov al, ah
    out dx, al
    jmp say
4:  ret

text_tether:
    .asciz "tether's boot loader: "
text_read:
    .asciz "the boot medium cannot be read"
text_no_kernel:
    .asciz "no kernel where one should be: the boot medium is damaged"
text_damaged:
    .asciz "the boot medium is damaged"
text_memory:
    .asciz "too little memory for the kernel and its initramfs"
text_a20:
    .asciz "memory above 1 MiB cannot be reached"
text_end:
    .asciz ". Starting again in 10 seconds.\r\n"

.balign 8
table:
    .quad 0
    .quad 0x008f92000000ffff    # data, all of memory
table_place:
    .word 15
    .long table
.balign 4
packet:
    .word 16, 0
    .word 0, BUFFER
    .quad 0
range:
    .zero 20
sum:
    .long 0
probe:
    .word 0
drive:
    .byte 0
shift:                          # sectors of the medium in one of 2048 bytes, as a power of two
    .byte 0

command_line:
    .incbin "cmdline"
    .byte 0
.org SECTOR
