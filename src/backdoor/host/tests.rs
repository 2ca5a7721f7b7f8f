use super::*;
use crate::backdoor::Port;
use crate::backdoor::channel;
use crate::backdoor::loopback::{Loopback, Slice, Values};
use crate::backdoor::protocol::{HIGH_MESSAGE, PORT_HIGH, PORT_LOW};
use crate::backdoor::rpci::Rpc;

fn ask(port: &mut Loopback, request: &[u8]) -> String {
    let channel = channel::Channel::open(port, PROTOCOL_RPCI).unwrap();
    channel.send(port, request, true).unwrap();
    let reply = channel.receive(port, usize::MAX, true).unwrap().unwrap();
    channel.close(port);
    String::from_utf8(reply).unwrap()
}

fn call(command: u16, sub_type: u16) -> Registers {
    Registers {
        rax: u64::from(MAGIC),
        rcx: halves(sub_type, command),
        rdx: u64::from(PORT_LOW),
        ..Registers::default()
    }
}

#[test]
fn requests_are_answered_as_vmware_answers_them() {
    let mut port = Loopback::default().with("guestinfo.x", b"hello");
    for (request, reply) in [
        ("info-get guestinfo.x", "1 hello"),
        ("info-get guestinfo.x\0", "1 hello"),
        ("info-get guestinfo.y", "0 No value found"),
        ("info-get guestinfo.", "0 No value found"),
        ("info-get", "0 No value found"),
        ("info-get scsi0.present", "0 No value found"),
        ("info-set scsi0.present FALSE", "0 Permission denied"),
        ("info-set guestinfo.y a b", "1 "),
        ("info-get guestinfo.y", "1 a b"),
        ("info-set guestinfo.y", "1 "),
        ("info-get guestinfo.y", "0 No value found"),
        ("log a line", "1 "),
        ("machine.id.get", "0 No machine id"),
        ("tools.set.version 2147483647", "1 "),
        ("tools.capability.statechange", "1 "),
        ("SetGuestInfo  4 debian", "1 "),
        ("vmx.capability.unified_loop toolbox", "1 "),
        ("vmx.capability.dnd_version", "0 Unknown command"),
        ("nonsense", "0 Unknown command"),
        ("", "0 Unknown command"),
    ] {
        assert_eq!(ask(&mut port, request.as_bytes()), reply, "{request}");
    }
    assert_eq!(port.store.log, ["a line"]);
}

#[test]
fn the_machine_id_is_the_vmx_files() {
    let mut port = Loopback::of(Options {
        machine_id: Some("rack 7".into()),
        ..Options::default()
    });
    assert_eq!(ask(&mut port, b"machine.id.get"), "1 rack 7");
}

#[test]
fn a_value_of_64_kib_is_taken_and_one_more_byte_is_not() {
    for high_bandwidth in [true, false] {
        let mut rpc = Rpc::new(Loopback::new(high_bandwidth));
        let whole = vec![b'v'; protocol::VALUE_LIMIT];
        rpc.info_set("guestinfo.v", &whole).unwrap();
        assert_eq!(rpc.info_get("guestinfo.v").unwrap(), Some(whole.clone()));
        let error = rpc
            .info_set("guestinfo.v", &[whole, vec![b'v']].concat())
            .unwrap_err();
        assert!(error.to_string().ends_with("Value too large"), "{error}");
    }
}

#[test]
fn a_message_over_the_limit_is_refused_before_its_bytes() {
    let mut port = Loopback::default();
    let channel = channel::Channel::open(&mut port, PROTOCOL_RPCI).unwrap();
    port.instructions = 0;
    let refused = channel.send(&mut port, &vec![b'x'; MESSAGE_LIMIT + 1], true);
    assert_eq!(refused, Err(channel::ChannelError::Refused));
    assert_eq!(port.instructions, 1);
}

#[test]
fn a_ninth_channel_is_refused_until_one_is_given_back() {
    let mut port = Loopback::default();
    let mut channels: Vec<_> = (0..CHANNELS)
        .map(|_| channel::Channel::open(&mut port, PROTOCOL_RPCI).unwrap())
        .collect();
    assert!(channel::Channel::open(&mut port, PROTOCOL_RPCI).is_err());
    channels.remove(3).close(&mut port);
    assert!(channel::Channel::open(&mut port, PROTOCOL_RPCI).is_ok());
}

#[test]
fn another_cookie_opens_no_door() {
    let mut port = Loopback::default();
    let mut open = call(command::MESSAGE, message::OPEN);
    open.rbx = u64::from(PROTOCOL_RPCI | FLAG_COOKIE);
    port.low(&mut open);
    assert_eq!(open.low_status(), status::SUCCESS);
    for (high, low, expected) in [
        (open.rsi, open.rdi, status::SUCCESS | status::HIGH_BANDWIDTH),
        (open.rsi, open.rdi ^ 1, 0),
        (open.rsi ^ 1, open.rdi, 0),
        (0, 0, 0),
    ] {
        let mut size = call(command::MESSAGE, message::SEND_SIZE);
        size.rbx = 4;
        size.rdx = halves(open.channel(), PORT_LOW);
        size.rsi = high;
        size.rdi = low;
        port.low(&mut size);
        assert_eq!(size.low_status(), expected);
    }
    let mut text = call(command::MESSAGE, 0);
    text.rbx = halves(status::SUCCESS, HIGH_MESSAGE);
    text.rdx = halves(open.channel(), PORT_HIGH);
    text.rbp = open.rsi;
    text.rdi = open.rdi ^ 1;
    port.high_out(&mut text, b"log ");
    assert_eq!(text.high_status(), 0);
}

#[test]
fn a_channel_opened_without_cookies_needs_none() {
    let mut port = Loopback::default();
    let mut open = call(command::MESSAGE, message::OPEN);
    open.rbx = u64::from(PROTOCOL_RPCI);
    port.low(&mut open);
    assert_eq!((open.rsi, open.rdi), (0, 0));
    let mut close = call(command::MESSAGE, message::CLOSE);
    close.rdx = halves(open.channel(), PORT_LOW);
    port.low(&mut close);
    assert_eq!(close.low_status(), status::SUCCESS);
    assert_eq!(port.host.open_channels().count(), 0);
}

#[test]
fn a_string_instruction_of_no_bytes_leaves_everything_as_it_is() {
    let mut port = Loopback::default();
    let mut registers = call(command::MESSAGE, 0);
    registers.rbx = halves(status::SUCCESS, HIGH_MESSAGE);
    registers.rdx = u64::from(PORT_HIGH);
    port.high_out(&mut registers, &[]);
    assert_eq!(registers.high_status(), status::SUCCESS);
}

#[test]
fn string_instructions_move_the_registers_as_the_processor_does() {
    let mut port = Loopback::default();
    let mut open = call(command::MESSAGE, message::OPEN);
    open.rbx = u64::from(PROTOCOL_RPCI);
    port.low(&mut open);
    let mut size = call(command::MESSAGE, message::SEND_SIZE);
    size.rbx = 9;
    port.low(&mut size);
    let mut text = call(command::MESSAGE, 0);
    text.rbx = halves(status::SUCCESS, HIGH_MESSAGE);
    text.rdx = u64::from(PORT_HIGH);
    port.high_out(&mut text, b"log ");
    assert_eq!((text.rcx, text.rsi), (0, Slice::BASE + 4));
    port.high_out(&mut text, b"piece");
    assert_eq!(port.store.log, ["piece"], "a message may come in pieces");
    text.rbx = halves(status::SUCCESS, HIGH_MESSAGE);
    port.high_out(&mut text, b"more");
    assert_eq!(text.high_status(), 0, "nothing more was announced");
}

#[test]
fn memory_that_is_not_there_changes_nothing() {
    struct Nowhere;
    impl Memory for Nowhere {
        fn read(&mut self, _: u64, _: &mut [u8]) -> std::io::Result<()> {
            Err(std::io::ErrorKind::NotFound.into())
        }
        fn write(&mut self, _: u64, _: &[u8]) -> std::io::Result<()> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }
    let mut port = Loopback::default();
    let mut open = call(command::MESSAGE, message::OPEN);
    open.rbx = u64::from(PROTOCOL_RPCI);
    port.low(&mut open);
    let mut size = call(command::MESSAGE, message::SEND_SIZE);
    size.rbx = 5;
    port.low(&mut size);
    let mut text = call(command::MESSAGE, 0);
    text.rbx = halves(status::SUCCESS, HIGH_MESSAGE);
    text.rcx = 5;
    text.rdx = u64::from(PORT_HIGH);
    text.rsi = 0x1000;
    let before = text;
    let mut store = Values::default();
    let error = port
        .host
        .handle(Instruction::HighOut, &mut text, &mut Nowhere, &mut store)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "reading 5 bytes of the guest at 0x1000 for `rep outsb`"
    );
    assert_eq!(text, before);
    port.high_out(&mut text, b"log x");
    assert_eq!(port.store.log, ["x"]);
}

#[test]
fn instructions_are_told_by_bytes_magic_and_port() {
    let registers = |magic: u32, port: u16| Registers {
        rax: u64::from(magic),
        rdx: halves(3, port),
        ..Registers::default()
    };
    let low = registers(MAGIC, PORT_LOW);
    let high = registers(MAGIC, PORT_HIGH);
    for (bytes, registers, expected) in [
        (b"\xed\x90".as_slice(), low, Some(Instruction::Low)),
        (b"\xed", low, Some(Instruction::Low)),
        (b"\xf3\x6e", high, Some(Instruction::HighOut)),
        (b"\xf3\x6c", high, Some(Instruction::HighIn)),
        (b"\xf3\x6d", high, None),
        (b"\xf3", high, None),
        (b"", low, None),
        (b"\xed", high, None),
        (b"\xf3\x6e", low, None),
        (b"\xed", registers(MAGIC + 1, PORT_LOW), None),
        (b"\xed", registers(MAGIC, 0x60), None),
    ] {
        assert_eq!(Instruction::decode(bytes, &registers), expected);
    }
}

#[test]
fn time_is_the_callers_or_not_supported() {
    let mut port = Loopback::default();
    for command in [command::GET_TIME, command::GET_TIME_FULL] {
        let mut registers = call(command, 0);
        port.low(&mut registers);
        assert_eq!(registers.rax, 0xffff_ffff);
    }
    let now = Duration::new((3 << 32) + 77, 5_000);
    port.host.set_time(Some(now));
    let mut registers = call(command::GET_TIME_FULL, 0);
    port.low(&mut registers);
    assert_eq!(registers.rax, u64::from(MAGIC));
    assert_eq!((registers.rsi, registers.rdx, registers.rbx), (3, 77, 5));
}

#[test]
fn an_unknown_command_is_not_supported() {
    let mut port = Loopback::default();
    let mut registers = call(0x7fff, 0);
    port.low(&mut registers);
    assert_eq!(registers.rax, 0xffff_ffff);
}

#[test]
fn the_uuid_comes_in_four_words() {
    let mut port = Loopback::of(Options {
        uuid: *b"\x56\x4d\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e",
        ..Options::default()
    });
    let mut registers = call(command::GET_UUID, 0);
    port.low(&mut registers);
    assert_eq!(registers.rax, 0x0201_4d56);
    assert_eq!(registers.rdx, 0x0e0d_0c0b);
}

/// The loop of a TCLO client: the answer to the last request, then what waits.
fn poll(channel: &channel::Channel, port: &mut Loopback, answer: &[u8]) -> Option<Vec<u8>> {
    channel.send(port, answer, true).unwrap();
    channel.receive(port, 1024, true).unwrap()
}

fn traced() -> Loopback {
    Loopback::of(Options {
        trace: true,
        ..Options::default()
    })
}

/// A TCLO channel that has answered what a host asks by itself.
fn registered(port: &mut Loopback) -> channel::Channel {
    let channel = channel::Channel::open(port, PROTOCOL_TCLO).unwrap();
    let mut answer: &[u8] = b"";
    for expected in [
        "reset",
        "Capabilities_Register",
        "Set_Option broadcastIP 1",
        "",
    ] {
        let request = poll(&channel, port, answer).unwrap_or_default();
        assert_eq!(request, expected.as_bytes());
        answer = match expected {
            "reset" => b"OK ATR toolbox",
            _ => b"OK ",
        };
    }
    while port.host.take_exchange().is_some() {}
    channel
}

#[test]
fn a_request_is_paired_with_its_answer() {
    let mut port = traced();
    let channel = registered(&mut port);
    port.host.push_request(b"ping");
    port.host.push_request(b"OS_Halt");
    assert_eq!(poll(&channel, &mut port, b""), Some(b"ping".to_vec()));
    assert_eq!(port.host.take_exchange(), None);
    assert_eq!(poll(&channel, &mut port, b"OK "), Some(b"OS_Halt".to_vec()));
    assert_eq!(poll(&channel, &mut port, b"OK x"), None);
    assert_eq!(poll(&channel, &mut port, b""), None);
    assert_eq!(ask(&mut port, b"info-get guestinfo.x"), "0 No value found");
    let exchanges: Vec<String> = std::iter::from_fn(|| port.host.take_exchange())
        .map(|one| one.to_string())
        .collect();
    assert_eq!(
        exchanges,
        [
            "TCLO ping -> OK ",
            "TCLO OS_Halt -> OK x",
            "RPCI info-get guestinfo.x -> 0 No value found"
        ]
    );
}

#[test]
fn a_request_that_was_not_received_comes_again_on_the_next_channel() {
    let mut port = traced();
    let channel = registered(&mut port);
    port.host.push_request(b"OS_Reboot");
    channel.send(&mut port, b"", true).unwrap();
    let mut size = call(command::MESSAGE, message::RECV_SIZE);
    size.rdx = halves(0, PORT_LOW);
    port.low(&mut size);
    port.host.close(0);
    let channel = channel::Channel::open(&mut port, PROTOCOL_TCLO).unwrap();
    assert_eq!(poll(&channel, &mut port, b""), Some(b"reset".to_vec()));
    let request = poll(&channel, &mut port, b"OK ATR toolbox");
    assert_eq!(request, Some(b"OS_Reboot".to_vec()));
}

#[test]
fn power_events_are_for_tools_that_take_them_one_at_a_time() {
    let mut port = traced();
    let halt = PowerEvent::Halt;
    assert_eq!(port.host.power(halt), Err(PowerRefusal::NotRunning));
    let channel = registered(&mut port);
    assert_eq!(port.host.power(halt), Err(PowerRefusal::NoCapability));
    ask(&mut port, b"tools.capability.statechange ");
    assert_eq!(port.host.power(halt), Ok(()));
    assert_eq!(port.host.power(halt), Err(PowerRefusal::Pending(halt)));
    assert_eq!(poll(&channel, &mut port, b""), Some(b"OS_Halt".to_vec()));
    // Of another event: not this one's.
    ask(&mut port, b"tools.os.statechange.status 1 5");
    assert_eq!(port.host.take_power_outcome(), None);
    ask(&mut port, b"tools.os.statechange.status 1 1");
    assert_eq!(port.host.take_power_outcome(), Some((halt, true)));
    assert_eq!(port.host.power(PowerEvent::Suspend), Ok(()));
    ask(&mut port, b"tools.os.statechange.status 0 5");
    let failed = Some((PowerEvent::Suspend, false));
    assert_eq!(port.host.take_power_outcome(), failed);
}

#[test]
fn after_a_reset_a_soft_reboot_wants_to_know_the_uptime() {
    let mut port = traced();
    registered(&mut port);
    for reset in 0..3 {
        ask(&mut port, b"tools.capability.statechange");
        if reset > 0 {
            let refused = port.host.power(PowerEvent::Reboot);
            assert_eq!(refused, Err(PowerRefusal::NoUptime));
            ask(&mut port, b"SetGuestInfo  7 1234");
        }
        assert_eq!(port.host.power(PowerEvent::Reboot), Ok(()));
        port.host.reset();
        assert!(!port.host.tools().running);
        registered(&mut port);
    }
}

#[test]
fn what_the_tools_tell_is_known() {
    let mut port = traced();
    ask(&mut port, b"tools.set.version 2147483647");
    ask(&mut port, b"SetGuestInfo  10 \0\0\0\x03 \xff");
    ask(&mut port, b"SetGuestInfo  nonsense");
    let tools = port.host.tools();
    assert_eq!(tools.version, Some(2_147_483_647));
    assert_eq!(tools.info.len(), 1);
    assert_eq!(
        tools.info[&protocol::guest_info::NICS_V3],
        b"\0\0\0\x03 \xff"
    );
}

#[test]
fn a_checkpoint_is_told_to_whoever_had_a_channel() {
    let mut port = traced();
    let tclo = registered(&mut port);
    let mut rpc = Rpc::new(port);
    rpc.info_set("guestinfo.x", b"1").unwrap();
    let port = rpc.port_mut();
    port.host.checkpoint();
    let told = tclo.send(port, b"", true);
    assert_eq!(told, Err(channel::ChannelError::Checkpoint));
    assert_eq!(rpc.info_get("guestinfo.x").unwrap(), Some(b"1".to_vec()));
    registered(rpc.port_mut());
}
