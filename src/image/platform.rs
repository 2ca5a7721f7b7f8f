//! What images must be for: machines of this host's own kind.

/// As images name it.
pub const OS: &str = "linux";

/// This machine's, as images name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Both, `linux/amd64`.
pub fn own() -> String {
    format!("{OS}/{}", architecture())
}
