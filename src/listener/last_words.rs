//! What a machine has printed on its port beside the link: its kernel's last words.

/// What Linux begins the last message of its life with (kernel/panic.c).
const PANIC: &str = "Kernel panic - not syncing: ";
/// Lines that are kept.
const LINES_MOST: usize = 12;

/// Why the kernel has panicked, where it says so in what is no frame: whole lines count.
pub fn panic(noise: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(noise);
    let (_, rest) = text.rsplit_once(PANIC)?;
    let (reason, _) = rest.split_once('\n')?;
    Some(readable(reason))
}

/// The last lines, as far as they are text.
pub fn lines(noise: &[u8]) -> String {
    let text = String::from_utf8_lossy(noise);
    let all: Vec<String> = text
        .lines()
        .filter(|line| !line.contains(char::REPLACEMENT_CHARACTER))
        .map(readable)
        .filter(|line| !line.is_empty())
        .collect();
    all[all.len().saturating_sub(LINES_MOST)..].join("\n")
}

fn readable(line: &str) -> String {
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\xb5\x1e\x03\xff\r\n[    1.0] EXT4-fs error\r\n\
        [    2.5] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009\r\n\
        [    2.5] CPU: 0 PID: 1 Comm: tether\r\n";

    #[test]
    fn a_panic_is_told_by_its_reason() {
        let reason = "Attempted to kill init! exitcode=0x00000009";
        assert_eq!(panic(TEXT).as_deref(), Some(reason));
        assert_eq!(panic(b"Kernel panic - not syncing: Attem"), None);
        assert_eq!(panic(&[0xb5; 100]), None);
    }

    #[test]
    fn the_last_lines_are_text() {
        let lines = lines(TEXT);
        assert!(lines.starts_with("[    1.0] EXT4-fs error\n"), "{lines:?}");
        assert!(lines.ends_with("PID: 1 Comm: tether"), "{lines:?}");
        let many: String = (0..99).map(|n| format!("line {n}\n")).collect();
        assert_eq!(super::lines(many.as_bytes()).lines().count(), LINES_MOST);
    }
}
