//! What a VMware host asks of its guest's tools, as open-vm-tools answers it: who runs here, at which
//! address, and that it is to power off. A host does not call: it is polled.

use std::time::Duration;

use super::event_loop::now;
use super::machine::Machine;
use crate::backdoor::nic_info;
use crate::backdoor::protocol::guest_info;
use crate::backdoor::rpci::TOOLS_UNMANAGED;
use crate::backdoor::tclo::{PowerEvent, Request, Tclo};
use crate::plan::stop::DEFAULT_GRACE;
use crate::sys::port::Hardware;
use crate::sys::power::Ending;

/// How long a host is left alone: after something has come, and at most (open-vm-tools' own).
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often the clock is compared with the host's.
const CLOCK_PAUSE: Duration = Duration::from_secs(60);

/// The tools of this machine.
#[derive(Debug)]
pub struct Tools {
    tclo: Tclo<Hardware>,
    pause: Duration,
    due: Duration,
    clock_due: Duration,
    /// The host wants to know what there is.
    registered: bool,
    /// It wants the machine's address, and was told this one.
    address: Option<String>,
    /// The report of the interfaces that it was told last.
    nics: Vec<u8>,
}

impl Tools {
    /// Tools that begin to poll in a second: what is over before is none of the host's affair.
    pub fn new(port: Hardware, now: Duration) -> Self {
        Self {
            tclo: Tclo::new(port),
            pause: LONGEST_PAUSE,
            due: now.saturating_add(LONGEST_PAUSE),
            clock_due: now.saturating_add(CLOCK_PAUSE),
            registered: false,
            address: None,
            nics: Vec::new(),
        }
    }

    /// When the host is to be asked next.
    pub fn due(&self) -> Duration {
        self.due
    }
}

impl Machine {
    /// Serves the host from now on, where there is one.
    pub fn serve_host(&mut self) {
        self.tools = self.host.port().map(|port| Tools::new(port, now()));
    }

    /// Asks the host what it wants, when that is due.
    pub(super) fn poll_host(&mut self, now: Duration) {
        let Some(mut tools) = self.tools.take_if(|tools| tools.due <= now) else {
            return;
        };
        let (requests, outcome) = tools.tclo.poll();
        tools.pause = if requests.is_empty() {
            tools.pause.saturating_mul(2).min(LONGEST_PAUSE)
        } else {
            SHORTEST_PAUSE
        };
        tools.due = now.saturating_add(tools.pause);
        if let Err(error) = outcome {
            log::info!("the host's channel: {error}; another is opened");
            // A snapshot or a migration: time may have passed that this machine has not seen.
            tools.clock_due = now;
        }
        for request in requests {
            self.do_for_host(&mut tools, now, request);
        }
        if tools.clock_due <= now {
            tools.clock_due = now.saturating_add(CLOCK_PAUSE);
            self.clock.follow_host(&self.host);
        }
        self.report_changes(&mut tools);
        self.tools = Some(tools);
    }

    fn do_for_host(&mut self, tools: &mut Tools, now: Duration, request: Request) {
        match request {
            Request::Reset => {
                tools.registered = false;
                tools.address = None;
                tools.nics.clear();
            }
            Request::Register => {
                tools.registered = true;
                self.register(now);
            }
            Request::Address => tools.address = Some(String::from("unknown")),
            Request::Power(event) => self.power_event(tools, event),
        }
    }

    /// What can be done here, and what runs. A host that has reset this machine wants its uptime, too, or
    /// takes none of its power events.
    fn register(&mut self, now: Duration) {
        let (short, full) = operating_system();
        self.host.tell(b"vmx.capability.unified_loop toolbox");
        self.host.tell(b"tools.capability.statechange ");
        self.host.tell(b"tools.capability.softpowerop_retry ");
        self.host
            .tell(format!("tools.set.version {TOOLS_UNMANAGED}").as_bytes());
        self.guest_info(
            guest_info::UPTIME,
            (now.as_millis() / 10).to_string().as_bytes(),
        );
        let hostname = self.network.hostname().to_owned();
        self.guest_info(guest_info::DNS_NAME, hostname.as_bytes());
        self.guest_info(guest_info::OS_NAME_FULL, full.as_bytes());
        self.guest_info(guest_info::OS_NAME, short.as_bytes());
    }

    /// The address and the interfaces, where the host does not know them as they are.
    fn report_changes(&mut self, tools: &mut Tools) {
        if !tools.registered {
            return;
        }
        let address = self.network.primary();
        let address = address.map(|address| address.to_string());
        if let Some(told) = &mut tools.address
            && *told != address.as_deref().unwrap_or_default()
        {
            *told = address.unwrap_or_default();
            let request = format!("info-set guestinfo.ip {told}");
            self.host.tell(request.as_bytes());
        }
        let nics = nic_info::encode(&self.network.report());
        if tools.nics != nics {
            self.guest_info(guest_info::NICS_V3, &nics);
            tools.nics = nics;
        }
    }

    fn guest_info(&mut self, kind: u32, value: &[u8]) {
        let request = [format!("SetGuestInfo  {kind} ").as_bytes(), value].concat();
        self.host.tell(&request);
    }

    /// The host goes on when it is told that the guest has done its part.
    fn power_event(&mut self, tools: &mut Tools, event: PowerEvent) {
        log::warn!("the host: {}", event.name());
        match event {
            PowerEvent::Halt => self.stop("the host's Shut Down Guest", DEFAULT_GRACE),
            PowerEvent::Reboot => {
                self.ending = Ending::Reboot;
                self.stop("the host's Restart Guest", DEFAULT_GRACE);
            }
            PowerEvent::Resume => tools.clock_due = Duration::ZERO,
            PowerEvent::PowerOn | PowerEvent::Suspend => {}
        }
        let status = format!("tools.os.statechange.status 1 {}", event.number());
        self.host.tell(status.as_bytes());
    }
}

/// What VMware calls this kernel's generation, and what it is called for people.
fn operating_system() -> (String, String) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let major = release.split('.').next().unwrap_or_default();
    let short = format!("other{major}xlinux-64");
    let full = concat!("tether ", env!("CARGO_PKG_VERSION"));
    (short, format!("{full} on Linux {release}"))
}
