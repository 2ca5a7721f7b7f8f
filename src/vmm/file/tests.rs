use proptest::prelude::*;

use super::*;

const ID: &str = "2cf7f483bf6e7f32daa53f51ca388d5fb153f78d3a74d313318099086638ad58";

fn parse(text: &str) -> VmxFile {
    VmxFile::parse(text.as_bytes())
}

fn written(file: &VmxFile) -> String {
    String::from_utf8(file.to_bytes()).unwrap()
}

#[test]
fn names_know_no_case() {
    let file = parse("displayName = \"x\"\n");
    assert_eq!(file.get("DISPLAYNAME"), Some(&b"x"[..]));
    assert_eq!(file.get("displayNam"), None);
}

#[test]
fn blanks_comments_and_bare_values_are_read_as_vmware_reads_them() {
    let file = parse(
        "\t memsize=512 # half a GiB\nempty =\nquoted = \"a # b\"# c\n# memsize = \"1\"\n\nsaid = |41\n",
    );
    assert_eq!(file.get("memsize"), Some(&b"512"[..]));
    assert_eq!(file.get("empty"), Some(&b""[..]));
    assert_eq!(file.get("quoted"), Some(&b"a # b"[..]));
    assert_eq!(file.get("said"), Some(&b"A"[..]));
    assert!(file.problems().is_empty());
}

#[test]
fn a_malformed_line_has_no_entry_and_is_named() {
    for text in [
        "no equals sign",
        "open = \"never closed",
        "two words = \"x\"",
        "x = \"y\" z",
        "= \"nameless\"",
        "nul = \"a\0b\"",
    ] {
        let file = parse(text);
        assert_eq!(file.entries().count(), 0, "{text}");
        assert!(
            matches!(&file.problems()[..], [Problem::Malformed { line: 1, .. }]),
            "{text}"
        );
    }
}

#[test]
fn an_escape_in_a_value_needs_two_digits() {
    let file = parse("a = \"|7Cx|7cy|4|zz|\"\n");
    assert_eq!(file.get("a"), Some(&b"|x|y|4|zz|"[..]));
}

#[test]
fn a_bar_before_an_id_that_looks_like_an_escape_is_a_bar() {
    let name = format!("guestinfo./sessions|{ID}/cmd/Path");
    let file = parse(&format!("{name} = \"/hello\"\n"));
    assert_eq!(file.get(&name), Some(&b"/hello"[..]));
    assert_eq!(file.get("guestinfo./sessions,f7f483"), None);
}

#[test]
fn an_id_that_starts_with_7c_is_not_an_escape() {
    let file = parse("guestinfo./sessions|7cab/x = \"1\"\n");
    assert_eq!(file.get("guestinfo./sessions|7cab/x"), Some(&b"1"[..]));
}

#[test]
fn the_escaped_spelling_of_a_name_is_the_same_name() {
    let mut file = parse("guestinfo./sessions|7C2cf7/x = \"1\"\n");
    assert_eq!(file.get("guestinfo./sessions|2cf7/x"), Some(&b"1"[..]));
    file.set("guestinfo./sessions|2cf7/x", b"2").unwrap();
    assert_eq!(written(&file), "guestinfo./sessions|7C2cf7/x = \"2\"\n");
}

#[test]
fn a_new_name_is_written_with_its_bar_as_vmware_does() {
    let mut file = parse("");
    file.set("guestinfo..sessions|2cf7.started", b"true")
        .unwrap();
    assert_eq!(
        written(&file),
        "guestinfo..sessions|2cf7.started = \"true\"\n"
    );
}

#[test]
fn setting_keeps_the_line_around_the_value() {
    let mut file = parse("# head\r\n  MemSize  =256   # small\r\nrest\r\n");
    assert_eq!(file.set("memsize", b"512"), Ok(true));
    assert_eq!(file.set("memsize", b"512"), Ok(false));
    assert_eq!(
        written(&file),
        "# head\r\n  MemSize  =\"512\"   # small\r\nrest\r\n"
    );
    file.set("memsize", b"1024").unwrap();
    assert_eq!(
        written(&file),
        "# head\r\n  MemSize  =\"1024\"   # small\r\nrest\r\n"
    );
}

#[test]
fn a_new_line_ends_as_the_others_do() {
    let mut file = parse("a = \"1\"\r\nb = \"2\"");
    file.set("c", b"3").unwrap();
    assert_eq!(written(&file), "a = \"1\"\r\nb = \"2\"\r\nc = \"3\"\r\n");
}

#[test]
fn of_duplicates_the_last_counts_and_both_are_kept() {
    let mut file = parse("a = \"1\"\nA = \"2\"\n");
    assert_eq!(file.get("a"), Some(&b"2"[..]));
    assert_eq!(file.entries().count(), 1);
    assert!(matches!(
        &file.problems()[..],
        [Problem::Duplicate { line: 2, .. }]
    ));
    file.set("a", b"3").unwrap();
    assert_eq!(written(&file), "a = \"1\"\nA = \"3\"\n");
    assert!(file.remove("a"));
    assert_eq!(written(&file), "");
    assert!(!file.remove("a"));
}

#[test]
fn a_name_that_could_not_be_read_back_is_refused() {
    for name in ["", "a b", "a=b", "a#b", "a\nb", "a\tb", "a\u{7f}b"] {
        let error = VmxFile::default().set(name, b"x").unwrap_err();
        assert!(error.to_string().contains(&format!("{name:?}")));
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_name() {
    let text = "\u{feff}.encoding = \"UTF-8\"\n";
    let file = parse(text);
    assert_eq!(file.get(".encoding"), Some(&b"UTF-8"[..]));
    assert_eq!(written(&file), text);
    assert!(parse("\u{feff}# only a comment\n").problems().is_empty());
}

#[test]
fn what_vmware_escapes_is_escaped() {
    assert_eq!(
        line(b"a", b"\" | \\ \t \n \x7f \xc3\xa9"),
        b"a = \"|22 |7C \\ \t |0A |7F \xc3\xa9\""
    );
}

#[test]
fn the_fixture_is_the_blogs_virtual_machine() {
    let bytes = include_bytes!("../../../tests/fixtures/blog.vmx");
    let file = VmxFile::parse(bytes);
    assert!(file.problems().is_empty());
    let get = |key: String| file.text(&key).unwrap();
    assert_eq!(get("guestinfo./common/name".into()), "jolly_panini");
    assert_eq!(get("guestinfo./common/id".into()), ID);
    assert_eq!(get("guestinfo./sessions".into()), ID);
    assert_eq!(get(format!("guestinfo./sessions|{ID}/cmd/Path")), "/hello");
    assert_eq!(file.to_bytes(), bytes);
}

/// Bytes that are often what a .vmx file is made of.
fn vmx_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"name = \"value\"\n".to_vec()),
        Just(b"guestinfo./sessions|2cf7/x = \"|7C\"\r\n".to_vec()),
        Just(b"# comment\n".to_vec()),
        Just(b"\"".to_vec()),
        Just(b" = ".to_vec()),
        Just(b"|".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[!-~&&[^=#]]{1,20}",
        "guestinfo[./|]{1,2}(7C|7c|2c|\\|){0,4}[a-z]{0,4}",
        "[é-öa-c|]{1,6}",
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_written_as_they_were_read(bytes in vmx_bytes()) {
        prop_assert_eq!(VmxFile::parse(&bytes).to_bytes(), bytes);
    }

    #[test]
    fn what_is_set_is_read_back(
        bytes in vmx_bytes(),
        name in name(),
        value in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut file = VmxFile::parse(&bytes);
        file.set(&name, &value).unwrap();
        prop_assert_eq!(file.get(&name), Some(&value[..]));
        let again = VmxFile::parse(&file.to_bytes());
        prop_assert_eq!(again.get(&name), Some(&value[..]));
    }

    #[test]
    fn setting_one_name_changes_no_other(
        bytes in vmx_bytes(),
        name in name(),
        value in proptest::collection::vec(any::<u8>(), 0..16),
    ) {
        let before = VmxFile::parse(&bytes);
        let mut file = before.clone();
        file.set(&name, &value).unwrap();
        let after = VmxFile::parse(&file.to_bytes());
        let others = |file: &VmxFile| -> Vec<(Vec<u8>, Vec<u8>)> {
            file.entries()
                .filter(|(other, _)| !other.eq_ignore_ascii_case(name.as_bytes()))
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect()
        };
        prop_assert_eq!(others(&before), others(&after));
    }
}
