# Boot sector of the accelerator probe (see accelerator.py): 64-bit mode with paging, a hundred million turns of a loop,
# sixteen timer interrupts in HLT, then the isa-debug-exit port. Assemble, and put the hex into accelerator.py:
#   as --64 probe.S -o p.o && ld -m elf_x86_64 -Ttext 0x7c00 --oformat binary p.o -o p.bin && xxd -p p.bin
.code16
.globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    # page tables at 0x1000..0x3fff: identity map of the first 2 MiB
    movw $0x1000, %di
    movw $0x1800, %cx
    cld
    rep stosw
    movw $0x2003, 0x1000
    movw $0x3003, 0x2000
    movw $0x0083, 0x3000
    movl $0x1000, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    lgdt gdtr
    movl %cr0, %eax
    orl $0x80000001, %eax
    movl %eax, %cr0
    ljmp $0x08, $long
.code64
long:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    # IDT at 0x4000; only vector 0x20 is filled
    movl $0x4200, %edi
    movl $tick, %eax
    movw %ax, (%rdi)
    movw $0x08, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    shrl $16, %eax
    movw %ax, 6(%rdi)
    xorl %eax, %eax
    movl %eax, 8(%rdi)
    movl %eax, 12(%rdi)
    lidt idtr
    # PIC: vectors from 0x20, only IRQ 0
    movb $0x11, %al
    outb %al, $0x20
    movb $0x20, %al
    outb %al, $0x21
    movb $0x04, %al
    outb %al, $0x21
    movb $0x01, %al
    outb %al, $0x21
    movb $0xfe, %al
    outb %al, $0x21
    # PIT: channel 0, 1 kHz
    movb $0x34, %al
    outb %al, $0x43
    movb $0xa9, %al
    outb %al, $0x40
    movb $0x04, %al
    outb %al, $0x40
    # work: a processor does this in a tenth of a second, an instruction emulator in minutes
    movl $100000000, %ecx
work:
    decl %ecx
    jnz work
    xorl %ebx, %ebx
    sti
wait:
    hlt
    cmpl $16, %ebx
    jb wait
    movb $0x2a, %al
    outb %al, $0xf4
stop:
    hlt
    jmp stop
tick:
    incl %ebx
    movb $0x20, %al
    outb %al, $0x20
    iretq
.align 8
gdt:
    .quad 0
    .quad 0x00af9a000000ffff
    .quad 0x00af92000000ffff
gdtr:
    .word . - gdt - 1
    .long gdt
idtr:
    .word 0x0fff
    .quad 0x4000
.org 510
.word 0xaa55
