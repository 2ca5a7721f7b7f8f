//! The loop of `vmx exec`: each stop of a traced task, and what is done about it.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::time::SystemTime;

use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

use super::code::{CPUID_LENGTH, Code};
use super::cpuid;
use crate::backdoor::Registers;
use crate::backdoor::host::{Host, Instruction, Memory, Store};
use crate::backdoor::protocol::word;
use crate::sys::trace::{self, AllRegisters, Event, Stop, Task};
use crate::vmm::trace::Trace;

/// How it all ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Of the program that was started: its code, or 128 + the signal that ended it.
    pub status: u8,
    /// Backdoor instructions that all of the tasks have executed.
    pub instructions: u64,
}

/// The host, its store, and what is known of the tasks.
pub struct Supervisor<'a> {
    host: Host,
    store: &'a mut dyn Store,
    trace: Option<Trace>,
    code: Code,
    instructions: u64,
    /// Which process has opened a channel: the host has few, and a process may end without closing.
    owners: HashMap<u16, i32>,
}

impl<'a> Supervisor<'a> {
    /// Ready to follow one program.
    pub fn new(host: Host, store: &'a mut dyn Store, trace: Option<Trace>) -> Supervisor<'a> {
        Supervisor {
            host,
            store,
            trace,
            code: Code::default(),
            instructions: 0,
            owners: HashMap::new(),
        }
    }

    /// Follows `first`, which is stopped at its exec, and all that it starts until none is left.
    ///
    /// # Errors
    /// What ptrace, `waitpid` and `/proc` say, but for a task that was killed meanwhile.
    pub fn follow(mut self, first: Task) -> io::Result<Ended> {
        leave_interrupts_to_the_program()?;
        let mut status = 0;
        self.deal_with(first, Stop::Exec)?;
        while let Some(event) = trace::wait()? {
            match event {
                Event::Stopped(task, stop) => self.deal_with(task, stop)?,
                Event::Exited(task, code) => {
                    self.forget(task);
                    if task == first {
                        status = code;
                    }
                }
                Event::Killed(task, signal) => {
                    self.forget(task);
                    if task == first {
                        status = 128 + signal;
                    }
                }
            }
        }
        Ok(Ended {
            // Both are 8 bits wide already.
            status: u8::try_from(status).unwrap_or(u8::MAX),
            instructions: self.instructions,
        })
    }

    /// Deals with one stop. That a task was killed while it was stopped is no error: `wait` tells
    /// next that it has ended.
    fn deal_with(&mut self, task: Task, stop: Stop) -> io::Result<()> {
        self.stopped(task, stop).or_else(|error| {
            let gone = |error: io::Error| error.raw_os_error() == Some(libc::ESRCH);
            if task.registers().is_err_and(gone) {
                return Ok(());
            }
            Err(error)
        })
    }

    /// Answers what is ours to answer, and lets the task go on.
    fn stopped(&mut self, task: Task, stop: Stop) -> io::Result<()> {
        match stop {
            Stop::Signal(libc::SIGSEGV) if self.answer_backdoor(task)? => task.resume(0),
            Stop::Signal(libc::SIGTRAP) if self.answer_cpuid(task)? => task.resume(0),
            Stop::Signal(signal) => task.resume(signal),
            Stop::Group => task.listen(),
            Stop::Exec => {
                self.code.plant(task, 0, u64::MAX)?;
                task.resume(0)
            }
            Stop::WantsExecutable => task.resume_to_call_end(),
            Stop::CallEnd => {
                self.plant_mapped(task)?;
                task.resume(0)
            }
            Stop::Other => task.resume(0),
        }
    }

    /// Whether the fault was a backdoor instruction; then it is answered and stepped over.
    fn answer_backdoor(&mut self, task: Task) -> io::Result<bool> {
        let mut all = task.registers()?;
        let mut registers = general(&all);
        let Some(instruction) =
            instruction_at(task, all.rip).and_then(|bytes| Instruction::decode(&bytes, &registers))
        else {
            return Ok(false);
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.host.set_time(now.ok());
        let before: Vec<u16> = self.host.open_channels().collect();
        let mut memory = TaskMemory(task);
        if self
            .host
            .handle(instruction, &mut registers, &mut memory, self.store)
            .is_err()
        {
            // A buffer that is not there faults on a real machine too: the signal is deserved.
            return Ok(false);
        }
        if let Some(trace) = &mut self.trace {
            trace.take(&mut self.host);
        }
        let opened = self
            .host
            .open_channels()
            .find(|channel| !before.contains(channel));
        if let Some(channel) = opened {
            self.owners.insert(channel, process_of(task)?);
        }
        self.instructions += 1;
        set_general(&mut all, &registers);
        all.rip = all.rip.wrapping_add(instruction.len());
        task.set_registers(&all)?;
        Ok(true)
    }

    /// Whether the trap was one of our breakpoints; then CPUID is answered and stepped over.
    fn answer_cpuid(&mut self, task: Task) -> io::Result<bool> {
        let mut all = task.registers()?;
        // The processor stops behind the breakpoint's one byte.
        let address = all.rip.wrapping_sub(1);
        if !self.code.is_planted(task, address)? {
            return Ok(false);
        }
        let [eax, ebx, ecx, edx] = cpuid::answer(word(all.rax), word(all.rcx));
        all.rax = eax.into();
        all.rbx = ebx.into();
        all.rcx = ecx.into();
        all.rdx = edx.into();
        all.rip = address.wrapping_add(CPUID_LENGTH);
        task.set_registers(&all)?;
        Ok(true)
    }

    /// Plants breakpoints in what `mmap` or `mprotect` has just made executable.
    fn plant_mapped(&mut self, task: Task) -> io::Result<()> {
        let registers = task.registers()?;
        let result = registers.rax.cast_signed();
        if (-4095..0).contains(&result) {
            return Ok(()); // the call failed
        }
        let start = if registers.orig_rax.cast_signed() == libc::SYS_mmap {
            registers.rax
        } else {
            registers.rdi
        };
        self.code
            .plant(task, start, start.saturating_add(registers.rsi))
    }

    /// Gives back the channels of a process that has ended.
    fn forget(&mut self, task: Task) {
        let host = &mut self.host;
        self.owners.retain(|channel, owner| {
            let gone = *owner == task.id();
            if gone {
                host.close(*channel);
            }
            !gone
        });
    }
}

/// Keys like Ctrl-C reach the program directly, which does with them what it likes; this process
/// stays to report how it ended.
fn leave_interrupts_to_the_program() -> io::Result<()> {
    for keyboard in [libc::SIGINT, libc::SIGQUIT] {
        trace::ignore(keyboard)?;
    }
    Ok(())
}

/// The first bytes at RIP; fewer where the mapping ends.
fn instruction_at(task: Task, address: u64) -> Option<Vec<u8>> {
    (1..=Instruction::MAX_LENGTH).rev().find_map(|length| {
        let mut bytes = vec![0; length];
        TaskMemory(task).read(address, &mut bytes).ok()?;
        Some(bytes)
    })
}

/// The process that a task is a thread of.
fn process_of(task: Task) -> io::Result<i32> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", task.id()))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
        .ok_or_else(|| io::Error::other(format!("no Tgid in the status of task {}", task.id())))
}

/// A task's memory, with its own rights: what it may not write is not written.
struct TaskMemory(Task);

impl TaskMemory {
    fn remote(address: u64, length: usize) -> io::Result<[RemoteIoVec; 1]> {
        let base = usize::try_from(address).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok([RemoteIoVec { base, len: length }])
    }

    fn whole(done: usize, wanted: usize) -> io::Result<()> {
        if done == wanted {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(libc::EFAULT))
    }
}

impl Memory for TaskMemory {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        let wanted = buffer.len();
        let remote = Self::remote(address, wanted)?;
        let local = &mut [IoSliceMut::new(buffer)];
        let done = process_vm_readv(Pid::from_raw(self.0.id()), local, &remote)?;
        Self::whole(done, wanted)
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> io::Result<()> {
        let remote = Self::remote(address, bytes.len())?;
        let local = &[IoSlice::new(bytes)];
        let done = process_vm_writev(Pid::from_raw(self.0.id()), local, &remote)?;
        Self::whole(done, bytes.len())
    }
}

fn general(all: &AllRegisters) -> Registers {
    Registers {
        rax: all.rax,
        rbx: all.rbx,
        rcx: all.rcx,
        rdx: all.rdx,
        rsi: all.rsi,
        rdi: all.rdi,
        rbp: all.rbp,
    }
}

fn set_general(all: &mut AllRegisters, registers: &Registers) {
    all.rax = registers.rax;
    all.rbx = registers.rbx;
    all.rcx = registers.rcx;
    all.rdx = registers.rdx;
    all.rsi = registers.rsi;
    all.rdi = registers.rdi;
    all.rbp = registers.rbp;
}
