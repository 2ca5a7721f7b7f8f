//! The same port and the same API, in TLS.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tether::link::Stream;

use crate::appliance::{Appliance, LIMIT};
use crate::guest::{Container, Guest, ID, generated};
use crate::pipe::{Authority, Pipe};
use crate::vspc::moved;

fn options(authority: &Authority) -> Vec<String> {
    let mut options = vec!["--tls-cert".to_owned(), authority.path("server.pem")];
    options.extend(["--tls-key".to_owned(), authority.path("server.key")]);
    options
}

fn appliance(options: &[String]) -> Appliance {
    let options: Vec<&str> = options.iter().map(|o| &**o).collect();
    Appliance::with(&options)
}

#[test]
fn a_vm_in_tls_is_a_vm_plain_or_behind_a_proxy() {
    let dir = tempfile::tempdir().expect("folder");
    let authority = Authority::new(dir.path());
    let appliance = appliance(&options(&authority));
    for (id, proxied) in [("plain", false), ("proxied", true)] {
        let container = Container {
            id,
            name: id,
            ..Container::default()
        };
        let mut guest = Guest::start(appliance.port, &container);
        guest.tls = Some(authority.client(None));
        guest.proxied = proxied;
        let mut client = None;
        let (output, input) = (generated(5, 3 << 20), generated(6, 1 << 20));
        for (n, part) in output.chunks(700_000).enumerate() {
            guest.print(Stream::Stdout, part);
            guest.settle();
            if client.is_none() {
                let mut attach = appliance.spawn(&["attach", id]);
                let mut stdin = attach.stdin.take().expect("piped");
                let typed = input.clone();
                client = Some((attach, std::thread::spawn(move || stdin.write_all(&typed))));
            }
            if proxied {
                moved(&appliance, &mut guest, &[n as u8, 255], n % 2 == 0);
            }
        }
        guest.until("all of stdin", |guest| guest.stdin_ended);
        assert!(guest.stdin == input);
        assert_eq!(appliance.field(id, "/Vch/Tls"), "true");
        guest.exit(3);
        guest.settle();
        let (attach, typing) = client.expect("a client");
        typing.join().expect("no panic").expect("typed");
        guest.until_ended(attach);
        assert!(
            appliance.vch(&["logs", id]).stdout == output,
            "{id}: the log differs"
        );
        assert_eq!(appliance.ok(&["wait", id]), "3\n");
    }
    // Who comes without is still let in.
    Guest::run(appliance.port);
}

#[test]
fn without_a_certificate_there_is_no_tls() {
    let dir = tempfile::tempdir().expect("folder");
    let authority = Authority::new(dir.path());
    let appliance = Appliance::start();
    let config = authority.client(None);
    assert!(Pipe::connect(appliance.port, Some(&config)).is_err());
    Guest::run(appliance.port);
}

#[test]
fn a_host_s_certificate_can_be_asked_for() {
    let dir = tempfile::tempdir().expect("folder");
    let authority = Authority::new(&dir.path().join("ours"));
    let other = Authority::new(&dir.path().join("other"));
    authority.sign("host");
    other.sign("host");
    let mut options = options(&authority);
    options.extend(["--vm-ca".to_owned(), authority.path("ca.pem")]);
    let appliance = appliance(&options);
    for config in [authority.client(None), stranger(&authority, &other)] {
        // In TLS 1.3 the refusal comes after the client's own handshake.
        let refused = match Pipe::connect(appliance.port, Some(&config)) {
            Err(_) => true,
            Ok(mut pipe) => ended(&mut pipe),
        };
        assert!(refused);
    }
    let mut guest = Guest::start(appliance.port, &Container::default());
    guest.tls = Some(authority.client(Some("host")));
    guest.settle();
    assert_eq!(appliance.field(ID, "/Vch/Tls"), "true");
}

/// Trusts our listener, and shows what another authority has signed.
fn stranger(ours: &Authority, other: &Authority) -> Arc<ClientConfig> {
    for name in ["host.pem", "host.key"] {
        let copy = ours.path(&format!("stranger.{}", &name[5..]));
        std::fs::copy(other.path(name), copy).expect("a copy");
    }
    ours.client(Some("stranger"))
}

fn ended(pipe: &mut Pipe) -> bool {
    let begin = Instant::now();
    let mut buffer = [0; 100];
    while begin.elapsed() < LIMIT {
        match pipe.read(&mut buffer) {
            Ok(0) => return true,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return true,
            Ok(_) => return false,
        }
    }
    false
}

/// A request in TLS: the answer, to its end.
fn ask(
    port: SocketAddr,
    config: &Arc<ClientConfig>,
    head: &str,
    body: &[u8],
) -> std::io::Result<String> {
    let socket = TcpStream::connect(port)?;
    socket.set_read_timeout(Some(LIMIT))?;
    let name = ServerName::IpAddress(port.ip().into());
    let connection =
        ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    write!(stream, "{head}\r\nHost: vch\r\n\r\n")?;
    stream.write_all(body)?;
    // The end of what is said, as docker's client says it; the answer goes on.
    if !body.is_empty() {
        stream.conn.send_close_notify();
    }
    stream.flush()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn the_api_on_tcp_is_for_those_with_a_certificate() {
    let dir = tempfile::tempdir().expect("folder");
    let authority = Authority::new(dir.path());
    authority.sign("client");
    let port = TcpListener::bind(("127.0.0.1", 0))
        .and_then(|l| l.local_addr())
        .expect("a free port");
    let mut options = options(&authority);
    options.extend(["--client-ca".to_owned(), authority.path("ca.pem")]);
    options.extend(["--api".to_owned(), port.to_string()]);
    let appliance = appliance(&options);
    let mut guest = Guest::run(appliance.port);
    let known = authority.client(Some("client"));

    let get = "GET /v1.41/containers/json?all=1 HTTP/1.1\r\nConnection: close";
    let answer = ask(port, &known, get, b"").expect("an answer");
    assert!(answer.contains(ID), "{answer}");
    assert!(ask(port, &authority.client(None), get, b"").is_err());
    // Attached: what is typed, its end, and all of the output.
    let attach = format!(
        "POST /containers/{ID}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n\
         Connection: Upgrade\r\nUpgrade: tcp"
    );
    let client = std::thread::spawn(move || ask(port, &known, &attach, b"typed"));
    guest.until("the end of stdin", |guest| guest.stdin_ended);
    assert_eq!(guest.stdin, b"typed");
    guest.print(Stream::Stdout, b"an answer");
    guest.exit(0);
    guest.settle();
    let answer = client.join().expect("no panic").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.ends_with("an answer"), "{answer}");
}

#[test]
fn the_api_on_tcp_is_for_anyone_only_where_that_is_said() {
    let dir = tempfile::tempdir().expect("folder");
    let authority = Authority::new(dir.path());
    let port = TcpListener::bind(("127.0.0.1", 0))
        .and_then(|l| l.local_addr())
        .expect("a free port");
    let mut options = options(&authority);
    options.extend(["--api-anyone", "--api", &port.to_string()].map(str::to_owned));
    let _appliance = appliance(&options);
    let get = "GET /v1.41/info HTTP/1.1\r\nConnection: close";
    let answer = ask(port, &authority.client(None), get, b"").expect("an answer");
    assert!(answer.contains("\"Containers\":0"), "{answer}");
    // In TLS all the same.
    let mut socket = TcpStream::connect(port).expect("a connection");
    socket.set_read_timeout(Some(LIMIT)).expect("a limit");
    write!(socket, "{get}\r\nHost: vch\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
}

#[test]
fn sighup_reads_the_certificate_again() {
    let dir = tempfile::tempdir().expect("folder");
    let authority = Authority::new(dir.path());
    let appliance = appliance(&options(&authority));
    let config = authority.client(None);
    let shown = || {
        let socket = TcpStream::connect(appliance.port).expect("connect");
        let name = ServerName::IpAddress(appliance.port.ip().into());
        let connection = ClientConnection::new(Arc::clone(&config), name).expect("a client");
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream
                .conn
                .complete_io(&mut stream.sock)
                .expect("handshake");
        }
        let shown = stream.conn.peer_certificates().expect("certificates");
        shown[0].as_ref().to_vec()
    };
    let hang_up = || {
        let pid = i32::try_from(appliance.pid()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("SIGHUP");
    };
    let first = shown();
    std::fs::write(authority.path("server.pem"), "no certificate").expect("a file");
    hang_up();
    std::thread::sleep(Duration::from_millis(300));
    assert!(shown() == first, "a file that is none changed something");
    authority.sign("server");
    hang_up();
    let begin = Instant::now();
    while shown() == first {
        assert!(begin.elapsed() < LIMIT, "the old certificate stays");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_no_certificate_is_named_at_the_start() {
    let dir = tempfile::tempdir().expect("folder");
    let authority = Authority::new(dir.path());
    std::fs::write(dir.path().join("server.pem"), "nothing").expect("a file");
    let appliance = Appliance::not_yet(&[]);
    let mut arguments = vec![
        "listen".to_owned(),
        "--port".to_owned(),
        appliance.port.to_string(),
    ];
    arguments.extend(options(&authority));
    let arguments: Vec<&str> = arguments.iter().map(|a| &**a).collect();
    let said = appliance.fails(&arguments);
    assert!(said.contains("server.pem: no certificate in it"), "{said}");
    let output = appliance.vch(&["listen", "--api", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--client-ca"), "{said}");
}
