# Verbs only: `make help`. Each long thing is a script in initramfs/, iso-build/ or tests/, which can
# be run by itself; this file knows what depends on what.

# The kernel of our own configuration (about 11 minutes to build on two CPUs, once), or Debian's
# prebuilt one. Who only wants to run something does not wait for ours.
ifndef KERNEL
KERNEL := own
ifneq ($(filter run docker bench bench-docker,$(MAKECMDGOALS)),)
KERNEL := $(shell initramfs/kernel-own.sh --built && echo own || echo debian)
$(info $(if $(filter own,$(KERNEL)),  kernel: our own (KERNEL=debian takes Debian's),  kernel: Debian's (make iso builds our own, smaller and four times quicker)))
endif
endif
# What `make run` runs, where the appliance listens, and the machine: vmware or virtio.
CMD ?=
PORT ?= 8080
CARRIER ?= vmware

ifeq ($(filter debian own,$(KERNEL)),)
$(error KERNEL=$(KERNEL): expected debian or own)
endif

step := iso-build/step.sh
kernel := build/cache/$(KERNEL)
export CMD PORT API REGISTRY KEEP TURNS SIZE CARRIER KERNEL SECURE_BOOT_KEY SECURE_BOOT_CERT FOR TARGET

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
.PHONY: help build run docker iso test bench bench-link bench-docker soak soak-deaths fuzz check fmt clean FORCE

help: ## this list
	@echo 'make VERB [NAME=value …]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r verb text; do \
	    printf '  %-10s %s\n' "$$verb" "$$text"; done
	@echo
	@echo 'SKIP_APT=1 installs nothing on this machine; VERBOSE=1 shows what each step prints.'

build: packages-build build/tether build/vch build/vmx ## the programs: build/tether, build/vch, build/vmx
	@ls -l build/tether build/vch build/vmx | awk '{ printf "  %-14s %9d bytes\n", $$9, $$5 }'

run: packages-run build/tether build/vch build/vmx build/bootstrap.iso build/container.vmdk ## boot the example container (CMD='/bin/sh -c "exit 3"', PORT=8081, CARRIER=virtio)
	@iso-build/run.sh

docker: packages-docker build/vch build/vmx build/bootstrap.iso build/guest/hello ## docker's own command line makes VMs, on loopback (KEEP=1 goes on; PORT=, API=, REGISTRY=)
	@iso-build/docker.sh

iso: packages-iso build/bootstrap.iso build/SHA256SUMS ## build/bootstrap.iso, which every containerVM boots (KERNEL=own|debian, SECURE_BOOT_KEY= SECURE_BOOT_CERT=)
	@ls -l build/vmlinuz build/initramfs.img build/bootstrap.iso | awk '{ printf "  %-20s %9d bytes\n", $$9, $$5 }'

test: packages-test ## everything that can be checked: style, units, programs, virtual machines
	@tests/run.sh

bench: packages-bench build/tether build/vch build/vmx build/bootstrap.iso build/container.vmdk build/cache/debian/version ## measure against the floor, as ratios within one run
	@tests/bench/run.sh

bench-link: packages-bench ## the link and the listener beside socat, conserver and ser2net; 16,000 VMs on one processor
	@iso-build/cargo.sh bench --locked --bench link

bench-docker: packages-docker build/vch build/vmx build/bootstrap.iso build/guest/hello ## docker's way beside the work itself (TURNS=5, SIZE=200 MB)
	@tests/bench/docker.sh

soak: packages-build ## one stream of 10 GiB through 1,024 vMotions and as many SIGKILLs of the listener (SOAK=MEBIBYTES)
	@SOAK=$(or $(SOAK),10240) iso-build/cargo.sh test --release --locked --test listener_e2e -- soak --nocapture

soak-deaths: packages-test build/bootstrap.iso build/test.vmdk ## a million deaths in one machine, of every kind (DEATHS=NUMBER; an hour)
	@TETHER_DEATHS=$(or $(DEATHS),1000000) iso-build/cargo.sh test --release --locked --features vm-tests \
	    --test listener_e2e -- vm::deaths --nocapture

fuzz: packages-build ## feed bytes of a fuzzer's making to all that reads bytes (FOR=60 seconds each, TARGET=vmx)
	@tests/fuzz/run.sh

check: ## the quick checks: formatting, clippy, shellcheck
	@tests/check.sh

fmt: ## format the Rust code
	@iso-build/cargo.sh fmt

clean: ## remove what was built (not the kernels: build/cache)
	@find build -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} + 2>/dev/null || true
	@rm -rf target

# What each verb needs from outside, as iso-build/packages.txt has it.
packages-build := build small
packages-iso := $(packages-build) iso $(if $(filter own,$(KERNEL)),kernel) $(if $(SECURE_BOOT_KEY),sign)
packages-run := $(packages-iso) run
packages-docker := $(packages-run) docker
packages-test := $(packages-docker) test
packages-bench := $(packages-run) bench
.PHONY: packages-build packages-iso packages-run packages-docker packages-test packages-bench
packages-build packages-iso packages-run packages-docker packages-test packages-bench:
	@iso-build/packages.sh $($@)

# Cargo decides whether the programs have to be built; a file is replaced only when it differs, so
# that nothing made from it is made again for nothing.
build/tether: FORCE
	@$(step) 'building tether (static)' initramfs/tether.sh

build/vch build/vmx &: FORCE
	@$(step) 'building vch and vmx' iso-build/programs.sh

# The choices and the commit that an image depends on, as files that change only when they do.
build/cache/choice: FORCE
	@mkdir -p build/cache
	@{ echo $(KERNEL) $(SECURE_BOOT_KEY) $(SECURE_BOOT_CERT); iso-build/epoch.sh; git describe --always --dirty 2>/dev/null || true; } >$@.new
	@if cmp -s $@ $@.new; then rm $@.new; else mv $@.new $@; fi

build/cache/debian/version: initramfs/kernel-debian.sh
	@$(step) "fetching Debian's kernel" initramfs/kernel-debian.sh build/cache/debian

build/cache/own/version: initramfs/kernel.config initramfs/kernel-own.sh $(wildcard initramfs/kernel-patches/*)
	@$(step) 'building our kernel (11 min on 2 CPUs, once)' initramfs/kernel-own.sh build/cache/own

build/vmlinuz: $(kernel)/version build/cache/choice
	@cp $(kernel)/vmlinuz $@

build/initramfs.img: build/tether $(kernel)/version build/cache/choice \
    initramfs/build.sh initramfs/modules.sh initramfs/modules.txt
	@$(step) 'packing the initramfs' initramfs/build.sh build/tether $(kernel) $@

build/bootstrap.iso: build/vmlinuz build/initramfs.img build/cache/choice \
    iso-build/iso.sh iso-build/bios.sh iso-build/bios.s iso-build/uki.sh iso-build/efi.s iso-build/efi.ld iso-build/esp.sh \
    iso-build/cmdline.txt iso-build/version.sh
	@$(step) 'writing bootstrap.iso' iso-build/iso.sh $(kernel) build/tether build/vmlinuz build/initramfs.img $@

build/SHA256SUMS: build/bootstrap.iso build/tether iso-build/about.sh
	@$(step) 'licences, bill of materials, checksums' iso-build/about.sh $(kernel) build

build/guest/%: tests/guest/%.c tests/guest/build.sh
	@mkdir -p build/guest
	@tests/guest/build.sh $< $@

build/container.ext4 build/container.vmdk &: build/guest/hello iso-build/container-disk.sh
	@$(step) "making the container's disk" iso-build/container-disk.sh build/container.ext4 build/container.vmdk build/guest/hello

# The tests' disk has programs more.
build/debian.ext4: tests/userland/build.sh
	@$(step) "making a disk of Debian's user land" tests/userland/build.sh $@

test_programs := build/guest/hello build/guest/orphans build/guest/deaths
build/test.ext4 build/test.vmdk &: $(test_programs) iso-build/container-disk.sh
	@$(step) "making the tests' disk" iso-build/container-disk.sh build/test.ext4 build/test.vmdk $(test_programs)
