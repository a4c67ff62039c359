#!/bin/sh
# Looks for the tools that the named purposes need and installs the Debian or Ubuntu packages of
# those that are missing. Called by every make command first; a few milliseconds when all is there.
#
#	setup.sh PURPOSE...	python build check fuzz test run-bochs run-qemu uefi memtest debug
#				tidy

packages=
clang_headers='/usr/lib/llvm-*/lib/clang/*/include'
clang_libraries='/usr/lib/llvm-*/lib/clang/*/lib/linux'

# Asks for package $1 unless command or file $2 (a pattern, perhaps) is there.
need()
{
	case $2 in
	/*) for file in $2; do
			[ -e "$file" ] && return
		done ;;
	*) command -v "$2" >/dev/null 2>&1 && return ;;
	esac
	case " $packages " in
	*" $1 "*) ;;
	*) packages="$packages $1" ;;
	esac
}

need_for()
{
	case $1 in
	python)
		need python3 python3 ;;
	build)
		need gcc gcc
		need binutils ld
		need libc6-dev /usr/include/string.h
		need grub-common grub-mkrescue
		need grub-pc-bin /usr/lib/grub/i386-pc/moddep.lst
		need grub-efi-amd64-bin /usr/lib/grub/x86_64-efi/moddep.lst
		need xorriso xorriso
		need mtools mformat ;;
	check)
		need gcc gcc
		need binutils readelf
		need libc6-dev /usr/include/string.h
		need clang clang
		need libclang-rt-dev "$clang_headers/sanitizer/asan_interface.h"
		need cppcheck cppcheck
		need libcmocka-dev /usr/include/cmocka.h ;;
	fuzz)
		need_for check
		need libclang-rt-dev "$clang_libraries/libclang_rt.fuzzer-x86_64.a" ;;
	run-bochs)
		need bochs bochs
		need bochs-term /usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so
		need bochsbios /usr/share/bochs/BIOS-bochs-latest
		need vgabios /usr/share/vgabios/vgabios.bin ;;
	run-qemu)
		need qemu-system-x86 qemu-system-x86_64 ;;
	uefi)
		need ovmf /usr/share/ovmf/OVMF.fd ;;
	memtest)
		need memtest86+ /boot/memtest86+x64.bin ;;
	test)
		need_for run-bochs
		need_for run-qemu
		need_for uefi
		need_for memtest ;;
	debug)
		need gdb gdb
		need_for run-qemu ;;
	tidy)
		need_for check
		need clang-tidy clang-tidy ;;
	*)
		echo "setup: found purpose '$1', expected python build check fuzz test" \
			"run-bochs run-qemu uefi memtest debug tidy" >&2
		exit 2 ;;
	esac
}

for purpose; do
	need_for "$purpose"
done
[ -n "$packages" ] || exit 0

kind=$( (. /etc/os-release && echo " $ID $ID_LIKE ") 2>/dev/null)
case $kind in
*" debian "* | *" ubuntu "*) ;;
*) kind= ;;
esac
if [ -z "$kind" ] || ! command -v apt-get >/dev/null; then
	echo "setup: missing tools; the Debian packages that hold them:$packages" >&2
	echo "setup: this is not Debian or Ubuntu: install their like here, then try again" >&2
	exit 1
fi

if [ "$(id -u)" = 0 ]; then
	as_root=
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
	as_root=sudo
else
	echo "setup: missing packages; as root: apt-get install$packages" >&2
	exit 1
fi

echo "setup: installing$packages"
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
install()
{
	$as_root apt-get update -q &&
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
		-o DPkg::Lock::Timeout=300 $packages
}
if ! install >"$log" 2>&1 </dev/null; then
	tail -n 20 "$log" >&2
	echo "setup: apt-get could not install$packages" >&2
	exit 1
fi

# A package may have come without the file looked for: say so here, not in a compiler's words.
wanted=$packages packages=
for purpose; do
	need_for "$purpose"
done
[ -z "$packages" ] || {
	echo "setup: installed$wanted, but files expected of$packages are still missing" >&2
	exit 1
}
