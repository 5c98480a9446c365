#!/usr/bin/env bash
# Runs the tests of the kernels on an emulated processor, for an instruction set that this one may lack:
#     tools/emulate.sh avx512 | avxvnni-vex | avxvnni-evex [TEST...]
# TEST is a program of build/release/tests; by default all that depend on the kernels. Bochs (3.0 or newer: Debian 13)
# boots a Debian kernel whose only process runs them with SAMPAN_ISA set, so that each fails where it can't run that
# one. Packages: tools/packages/emulate.txt; all else lies in build/emulate. The status is 0 only when all passed.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/install.sh
case ${1:-} in
avx512) processor=sapphire_rapids isa=avx512 ;; # with BF16
avxvnni-vex) processor=arrow_lake isa=avxvnni ;; # AVX-VNNI, no AVX-512
avxvnni-evex) processor=tigerlake isa=avxvnni ;; # AVX-512 with VNNI, no AVX-VNNI
*)
    echo "usage: tools/emulate.sh avx512|avxvnni-vex|avxvnni-evex [TEST...]" >&2
    exit 2
    ;;
esac
work=build/emulate/$1
shift
tests=("$@")
[ $# -gt 0 ] || tests=(base_test_cpu kernel_test_pack kernel_test_ops kernel_test_matmul kernel_test_attention
    engine_test_sample model_test_forward model_test_golden model_test_long)

# Debian's kernel for virtual machines, taken out of its package without installing it.
kernel_get() {
    local package
    [ -s $work/../vmlinuz ] && return
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p')
    rm -f $work/*.deb
    (cd $work && apt-get -qq download "$package")
    dpkg-deb --fsys-tarfile $work/*.deb | tar -xO --wildcards './boot/vmlinuz-*' >$work/vmlinuz
    mv $work/vmlinuz $work/../
    rm $work/*.deb
}

# The files of the emulated machine: the tests, their data at the same path, what they load.
initramfs_make() {
    local root=$work/root program
    rm -rf $root
    mkdir -p $root/{bin,proc,sys,dev,tmp,tests} "$root$PWD/tests"
    cp -r tests/data "$root$PWD/tests/"
    install -m 755 tools/emulate_init.sh $root/init
    for program in bash mount sed; do
        cp -L "$(command -v $program)" $root/bin/
    done
    for program in "${tests[@]}"; do
        strip -o "$root/tests/$program" "build/release/tests/$program"
    done
    printf '%s\n' "${tests[@]}" >$root/order
    ldd $root/bin/* $root/tests/* | grep -o '/[^ ]*\.so[^ ]*' | sort -u |
        xargs -d '\n' cp -L --parents -t $root
    (cd $root && find . | cpio --quiet -o -H newc) >$work/disk/initrd
}

# A CD that boots. What the kernel doesn't know (SAMPAN_ISA) becomes the environment of its process.
disk_make() {
    cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 $work/../vmlinuz $work/disk/
    cat >$work/disk/isolinux.cfg <<END
default linux
label linux
kernel vmlinuz
initrd initrd
append console=ttyS0 quiet mitigations=off nokaslr clearcpuid=amx_tile no5lvl SAMPAN_ISA=$isa
END
    xorriso -as mkisofs -quiet -o $work/boot.iso -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 \
        -boot-info-table $work/disk 2>$work/xorriso.log
}

bochsrc_make() {
    cat >$work/bochsrc <<END
display_library: term
cpu: model=$processor, ips=50000000
megs: 1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=$work/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/console.txt
log: $work/bochs.log
panic: action=fatal
info: action=ignore
END
}

# Until the last line of emulate_init.sh, the emulator's end, or two hours; the console goes to the terminal.
boot() {
    : >$work/console.txt
    # Bochs draws its screen on a terminal: one that nobody sees.
    TERM=vt100 script -qfc "exec bochs -f $work/bochsrc" /dev/null </dev/null >$work/bochs.out 2>&1 &
    local emulator=$!
    tail -f --pid=$emulator $work/console.txt &
    while kill -0 $emulator 2>/dev/null && ! grep -q '^emulated: ' $work/console.txt; do
        [ $SECONDS -lt 7200 ] || break
        sleep 1
    done
    kill $emulator 2>/dev/null || true
    wait
}

packages_install tools/packages/build.txt tools/packages/emulate.txt
if ! grep -qx $processor <<<"$(bochs --help cpu 2>&1)"; then
    echo "tools/emulate.sh: this Bochs knows no $processor: 3.0 or newer does (Debian 13 has it)" >&2
    exit 3
fi
rm -rf $work
mkdir -p $work/disk
kernel_get
cmake --build build/release --target "${tests[@]}"
initramfs_make
disk_make
bochsrc_make
echo "== SAMPAN_ISA=$isa on Bochs's $processor"
boot
grep -q '^emulated: all passed' $work/console.txt
