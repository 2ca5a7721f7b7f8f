//! Answers the backdoor of a virtual machine in QEMU: its processors stop at the guest program's
//! backdoor instructions, and go on behind them as if a VMware host had been there.
//!
//! A program with a bell (a word that it writes before each of them) is stopped by that, any other by
//! breakpoints. At a stop: the registers and the bytes at RIP say whether it is one of the program's own
//! instructions. Another program may have something else at the same address, and so do the boot
//! loader and the kernel's decompressor: then a breakpoint is taken away for one step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};

use super::agent::elf_note::Backdoor;
use super::gdb::{GeneralSet, Reply, Request, SIGNAL_INTERRUPT, SIGNAL_QUIT, SIGNAL_TRAP, Thread};
use super::on_disk::DiskError;
use super::power::{Operation, Order, Pending, told};
use super::store::VmxStore;
use super::stub::{Stop, Stub, StubError, Waited};
use super::trace::Trace;
use crate::backdoor::Registers;
use crate::backdoor::host::{Host, Instruction, Options};
use crate::backdoor::protocol::{HIGH_MESSAGE, halves};
use crate::backdoor::tclo::PowerEvent;

/// What has been answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// `in eax, dx`
    pub low: u64,
    /// `rep outsb`
    pub high_out: u64,
    /// `rep insb`
    pub high_in: u64,
    /// Stops at an address that was not a backdoor instruction then.
    pub foreign: u64,
    /// The guest stood still for the answers as long.
    pub time: Duration,
}

impl Statistics {
    /// All backdoor instructions.
    pub fn answered(&self) -> u64 {
        self.low + self.high_out + self.high_in
    }
}

impl std::fmt::Display for Statistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answered = self.answered();
        write!(
            f,
            "{answered} backdoor instructions answered ({} in, {} rep outsb, {} rep insb) in {:.1} ms, {:.3} ms each; {} stops elsewhere",
            self.low,
            self.high_out,
            self.high_in,
            self.time.as_secs_f64() * 1e3,
            self.time.as_secs_f64() * 1e3 / answered.max(1) as f64,
            self.foreign,
        )
    }
}

/// Why the virtual machine is not answered any more.
#[derive(Debug, thiserror::Error)]
pub enum TrapError {
    /// The stub.
    #[error(transparent)]
    Stub(#[from] StubError),
    /// A breakpoint could not be set.
    #[error(
        "setting a breakpoint for the backdoor at {address:#x} (a processor under KVM has four)"
    )]
    Breakpoint {
        /// Where.
        address: u64,
        /// Why not.
        source: StubError,
    },
    /// QEMU stopped the machine for a reason of its own.
    #[error("QEMU has stopped the virtual machine: {reason} (signal {signal})")]
    Stopped {
        /// GDB's number.
        signal: u8,
        /// What QEMU means by it.
        reason: &'static str,
    },
}

impl TrapError {
    /// QEMU has ended: not an error of its own.
    pub fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Stub(StubError::Gone)
                | Self::Breakpoint {
                    source: StubError::Gone,
                    ..
                }
        )
    }
}

/// The processors of a virtual machine and the host that answers them.
#[derive(Debug)]
pub struct Traps {
    stub: Stub,
    host: Host,
    backdoor: Backdoor,
    /// Where the last instruction was: the next is probably the same.
    last: u64,
    /// The processor that the stub's registers are of.
    selected: Option<Thread>,
    statistics: Statistics,
    desk: Desk,
    /// The resets that we have heeded.
    heeded: u32,
    /// Whoever waits for the guest to say how a power event went.
    waiting: Option<Answer>,
    /// The machine stands still until it is told to go on.
    suspended: bool,
}

/// What else the answering of a machine has to do with.
#[derive(Debug)]
pub struct Desk {
    /// The machine's resets so far, as the monitor counts them.
    pub resets: Arc<AtomicU32>,
    /// What is asked of its tools.
    pub orders: mpsc::UnboundedReceiver<Pending>,
    /// Where all that is said is written.
    pub trace: Option<Trace>,
}

type Answer = oneshot::Sender<Result<String, String>>;

/// How often orders are looked for while the machine stands still.
const LOOK: Duration = Duration::from_millis(20);

impl Traps {
    /// Takes over a machine that QEMU holds before its first instruction (`-S`). The desk's `resets` is
    /// raised by one each time that it starts anew.
    ///
    /// # Errors
    /// When a breakpoint cannot be set.
    pub fn set(
        socket: std::os::unix::net::UnixStream,
        backdoor: Backdoor,
        options: Options,
        desk: Desk,
    ) -> Result<Traps, TrapError> {
        let mut stub = Stub::new(socket);
        let stops: Vec<(u64, Request)> = match backdoor.bell {
            Some(bell) => vec![(bell, Request::Watch(bell))],
            None => backdoor
                .instructions
                .iter()
                .map(|address| (*address, Request::SetBreakpoint(*address)))
                .collect(),
        };
        for (address, stop) in stops {
            stub.order(stop)
                .map_err(|source| TrapError::Breakpoint { address, source })?;
        }
        Ok(Traps {
            stub,
            host: Host::new(options),
            last: backdoor.instructions.first().copied().unwrap_or_default(),
            backdoor,
            selected: None,
            statistics: Statistics::default(),
            heeded: desk.resets.load(Ordering::Relaxed),
            desk,
            waiting: None,
            suspended: false,
        })
    }

    /// What has been answered so far.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Lets the machine run, and answers, until it ends. The store is saved as it asks; the last
    /// save is the caller's.
    ///
    /// # Errors
    /// When the stub fails, or QEMU stops the machine for a reason of its own.
    pub fn run(
        &mut self,
        store: &mut VmxStore,
        mut unsaved: impl FnMut(DiskError),
    ) -> Result<(), TrapError> {
        self.stub.send(&[Request::Continue])?;
        loop {
            let waited = self.stub.wait(store.save_at())?;
            if let Waited::Stopped(stop) = &waited {
                self.stopped(stop, store)?;
            }
            if waited == Waited::Ended {
                return Ok(());
            }
            if store.save_at().is_some_and(|at| at <= Instant::now())
                && let Err(error) = store.save()
            {
                unsaved(error);
            }
        }
    }

    fn stopped(&mut self, stop: &Stop, store: &mut VmxStore) -> Result<(), TrapError> {
        let reason = match stop.signal {
            SIGNAL_TRAP => return self.trapped(stop, store),
            // Somebody at QEMU's own monitor: it goes on from there.
            SIGNAL_INTERRUPT => {
                store
                    .log()
                    .note("the virtual machine was paused from QEMU's monitor");
                return Ok(());
            }
            // Powered off: the end of the connection follows.
            SIGNAL_QUIT => return Ok(()),
            23 => "reading or writing a disk has failed",
            6 => "QEMU has met an error of its own",
            14 => "the watchdog has run out",
            _ => "for a reason that it does not tell",
        };
        Err(TrapError::Stopped {
            signal: stop.signal,
            reason,
        })
    }

    fn trapped(&mut self, stop: &Stop, store: &mut VmxStore) -> Result<(), TrapError> {
        let begin = Instant::now();
        if stop.thread.is_some() && stop.thread != self.selected {
            self.selected.clone_from(&stop.thread);
            if let Some(thread) = &stop.thread {
                self.stub.order(Request::Select(thread.clone()))?;
            }
        }
        let (mut set, guessed) = self
            .stub
            .registers_and_code(self.last, Instruction::MAX_LENGTH)?;
        let rip = set.rip();
        if !self.backdoor.instructions.contains(&rip) {
            self.statistics.foreign += 1;
            return Ok(self.stub.send(&[Request::Continue])?);
        }
        let code = if rip == self.last {
            guessed
        } else {
            self.stub
                .registers_and_code(rip, Instruction::MAX_LENGTH)?
                .1
        };
        let mut registers = set.registers();
        let Some(instruction) = Instruction::decode(&code.unwrap_or_default(), &registers) else {
            self.statistics.foreign += 1;
            return match self.backdoor.bell {
                // It has been rung already.
                Some(_) => Ok(self.stub.send(&[Request::Continue])?),
                None => self.pass(rip, stop.thread.clone()),
            };
        };
        self.last = rip;
        self.answer(instruction, &mut registers, store);
        set.set_registers(&registers);
        set.step_over(instruction.len());
        self.statistics.time += begin.elapsed();
        if self.suspended && !self.wait_for_resume(store)? {
            return Ok(());
        }
        self.go_on(&set)?;
        Ok(())
    }

    fn answer(
        &mut self,
        instruction: Instruction,
        registers: &mut Registers,
        store: &mut VmxStore,
    ) {
        let count = match instruction {
            Instruction::Low => &mut self.statistics.low,
            Instruction::HighOut => &mut self.statistics.high_out,
            Instruction::HighIn => &mut self.statistics.high_in,
        };
        *count += 1;
        self.heed_resets();
        self.take_orders();
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.host.set_time(time.ok());
        let outcome = self
            .host
            .handle(instruction, registers, &mut self.stub, store);
        if let Err(error) = outcome {
            // A processor would fault and come again with the page in place; a debugger cannot
            // make the guest do that. Told that it failed, the guest may take the other bandwidth.
            store.log().note(&super::chain(&error));
            registers.rbx = halves(0, HIGH_MESSAGE);
        }
        if let Some(trace) = &mut self.desk.trace {
            trace.take(&mut self.host);
        }
        if let Some((event, success)) = self.host.take_power_outcome() {
            self.suspended = success && event == PowerEvent::Suspend;
            let outcome = if success {
                Ok(String::from("ok"))
            } else {
                Err(format!("the guest has failed at {}", event.name()))
            };
            answer(&mut self.waiting, outcome);
        }
    }

    /// A guest that was reset has closed nothing, and does not know its channels any more.
    fn heed_resets(&mut self) {
        let resets = self.desk.resets.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.heeded, resets) != resets {
            self.host.reset();
            answer(
                &mut self.waiting,
                Err(String::from("the machine was reset")),
            );
        }
    }

    /// Hands what is asked of the guest's tools to them; they get it when they poll.
    fn take_orders(&mut self) {
        while let Ok(Pending { order, answer }) = self.desk.orders.try_recv() {
            let refusal = match order {
                Order::Tools => Some(Ok(told(self.host.tools()).to_string())),
                Order::Power(Operation::Resume) if !self.suspended => {
                    Some(Err(String::from("the machine is not suspended")))
                }
                Order::Power(operation) => {
                    match operation.event().map(|event| self.host.power(event)) {
                        Some(Err(error)) => Some(Err(error.to_string())),
                        Some(Ok(())) => None,
                        None => Some(Err(String::from("that is not for the guest's tools"))),
                    }
                }
            };
            match refusal {
                // Who is gone does not want to know.
                Some(text) => drop(answer.send(text)),
                None => self.waiting = Some(answer),
            }
        }
    }

    /// The machine stands still, and with it its clock, until somebody wants it to go on; `false`: it has
    /// ended. Its channels are gone then, as with a snapshot.
    fn wait_for_resume(&mut self, store: &mut VmxStore) -> Result<bool, TrapError> {
        store.log().note("the virtual machine is suspended");
        loop {
            if self.stub.wait(Some(Instant::now() + LOOK))? == Waited::Ended {
                return Ok(false);
            }
            while let Ok(Pending { order, answer }) = self.desk.orders.try_recv() {
                match order {
                    Order::Power(Operation::Resume) => {
                        self.suspended = false;
                        self.host.checkpoint();
                        if let Err(error) = self.host.power(PowerEvent::Resume) {
                            // It goes on all the same.
                            store.log().note(&error.to_string());
                            drop(answer.send(Ok(String::from("ok"))));
                        } else {
                            self.waiting = Some(answer);
                        }
                        store.log().note("the virtual machine goes on");
                        return Ok(true);
                    }
                    Order::Tools => drop(answer.send(Ok(told(self.host.tools()).to_string()))),
                    Order::Power(_) => {
                        drop(answer.send(Err(String::from(
                            "the machine is suspended: resume it first",
                        ))));
                    }
                }
            }
        }
    }

    /// Writes the registers and lets the machine run, in one turn.
    fn go_on(&mut self, set: &GeneralSet) -> Result<(), StubError> {
        let write = Request::WriteRegisters(set.encode());
        self.stub.send(&[write.clone(), Request::Continue])?;
        self.stub.expect_done(write)
    }

    /// One step over what is not ours, with the breakpoint away; the other processors stand still
    /// meanwhile.
    fn pass(&mut self, address: u64, thread: Option<Thread>) -> Result<(), TrapError> {
        let clear = Request::ClearBreakpoint(address);
        // QEMU numbers processors from 1, and without a name it means that one.
        let thread = thread.unwrap_or_else(|| Thread(String::from("1")));
        self.stub.send(&[clear.clone(), Request::Step(thread)])?;
        self.stub.expect_done(clear)?;
        match self.stub.wait(None)? {
            Waited::Stopped(stop) if stop.signal == SIGNAL_TRAP => {}
            Waited::Stopped(Stop { signal, .. }) => {
                return Err(TrapError::Stopped {
                    signal,
                    reason: "in the middle of a step",
                });
            }
            Waited::Ended | Waited::TimeOut => return Err(StubError::Gone.into()),
        }
        let set = Request::SetBreakpoint(address);
        self.stub.send(&[set.clone(), Request::Continue])?;
        match self.stub.receive()? {
            Reply::Done => Ok(()),
            reply => Err(TrapError::Breakpoint {
                address,
                source: StubError::Refused {
                    request: Box::new(set),
                    reply,
                },
            }),
        }
    }
}

/// Answers whoever waits.
fn answer(waiting: &mut Option<Answer>, text: Result<String, String>) {
    if let Some(waiting) = waiting.take() {
        // Who is gone does not want to know.
        drop(waiting.send(text));
    }
}

#[cfg(test)]
mod tests;
