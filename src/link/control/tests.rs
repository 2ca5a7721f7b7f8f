use super::*;

/// Both readers know the listener's messages: the appliance's is serde's own derive.
#[test]
fn a_listener_s_messages_survive_the_way_to_the_guest() {
    let channel = Channel(7);
    for message in [
        Control::Resize {
            channel,
            rows: 65535,
            columns: 1,
        },
        Control::Signal {
            channel,
            signal: "SIG\"\u{1F40B}\n".into(),
        },
        Control::Start { channel },
        Control::Stop { grace_s: u32::MAX },
        Control::Exec(Box::new(Exec {
            id: "e1".into(),
            args: vec!["sh".into(), String::new()],
            env: vec!["A=\n".into()],
            dir: "/srv".into(),
            user: "1:2".into(),
            tty: true,
            openstdin: true,
            rows: 1,
            columns: u16::MAX,
            report: true,
            upgrade: "00ff".into(),
            service: "get".into(),
        })),
        Control::Refused {
            what: "dance".into(),
            message: String::new(),
        },
    ] {
        let json = serde_json::to_vec(&message).expect("plain data");
        assert_eq!(from_listener(&json), Incoming::Known(message.clone()));
        assert_eq!(from_guest(&json), Incoming::Known(message));
    }
}

#[test]
fn a_message_names_its_type() {
    let text = r#"{"type":"signal","channel":1,"signal":"SIGTERM"}"#;
    let message = Control::Signal {
        channel: Channel(1),
        signal: "SIGTERM".into(),
    };
    assert_eq!(serde_json::to_string(&message).expect("plain data"), text);
    assert_eq!(from_listener(text.as_bytes()), Incoming::Known(message));
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let text = br#"{"type":"stop","grace_s":3,"mercy":true}"#;
    let known = || Incoming::Known(Control::Stop { grace_s: 3 });
    assert_eq!(from_listener(text), known());
    assert_eq!(from_guest(text), known());
}

#[test]
fn an_unknown_message_is_refused_by_name() {
    for (read, why) in [
        (
            from_guest as fn(&[u8]) -> Incoming,
            "unknown variant `dance`",
        ),
        (from_listener, "unknown message `dance`"),
    ] {
        let Incoming::Unknown { what, message } = read(br#"{"type":"dance"}"#) else {
            panic!("known")
        };
        assert_eq!(what, "dance");
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn a_bad_message_is_refused_with_the_field_that_is_wrong() {
    for (text, name, why) in [
        (r#"{"type":"stop"}"#, "stop", "field `grace_s`"),
        (r#"{"type":"stop","grace_s":-1}"#, "stop", "32 bits"),
        (
            r#"{"type":"exec","id":"e","args":[1]}"#,
            "exec",
            "field `args`: expected a list of strings",
        ),
        (
            r#"{"type":"resize","channel":1,"rows":65536,"columns":1}"#,
            "resize",
            "field `rows`: expected a whole number of at most 16 bits",
        ),
        (
            r#"{"type":"signal","channel":1,"signal":9}"#,
            "signal",
            "field `signal`",
        ),
        (r#"{"channel":1}"#, "", "field `type`"),
        (r#"["stop"]"#, "", "a JSON object"),
        (r#"{"type":"stop""#, "", "EOF"),
    ] {
        let Incoming::Unknown { what, message } = from_listener(text.as_bytes()) else {
            panic!("{text} is known")
        };
        assert_eq!(what, name, "{text}");
        assert!(message.contains(why), "{text}: {message}");
    }
}
