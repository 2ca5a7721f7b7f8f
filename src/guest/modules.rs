//! The kernel's modules that the initramfs carries, in the order that its builder has found.

use std::io;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// One module file a line, each after those it needs. A kernel that has all built in has no such file.
const ORDER: &str = "/lib/modules/tether.order";
/// `MODULE_INIT_COMPRESSED_FILE`: the kernel unpacks the file itself.
const COMPRESSED: i32 = 4;

/// Loads all of them, and frees the memory that their files take. What cannot be loaded is told:
/// whoever misses the device says so later.
pub fn load_all() {
    let order = match std::fs::read_to_string(ORDER) {
        Ok(order) => order,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            log::info!("no {ORDER}: the kernel has its drivers built in");
            return;
        }
        Err(error) => {
            log::error!("{ORDER}: {error}");
            return;
        }
    };
    let mut loaded = 0u32;
    for path in paths(&order) {
        match load(path) {
            Ok(()) => loaded = loaded.saturating_add(1),
            Err(Errno::EXIST) => log::debug!("module {path} is loaded already"),
            Err(error) => log::warn!("module {path}: {}", io::Error::from(error)),
        }
        // Nobody loads it twice; the initramfs is memory.
        if let Err(error) = std::fs::remove_file(path) {
            log::debug!("module {path} stays in memory: {error}");
        }
    }
    log::info!("{loaded} modules loaded");
}

fn load(path: &str) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = if path.ends_with(".ko") { 0 } else { COMPRESSED };
    rustix::system::finit_module(&file, c"", flags)
}

fn paths(order: &str) -> impl Iterator<Item = &str> {
    order
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    #[test]
    fn comments_and_empty_lines_are_no_modules() {
        let order = "# disks\n/lib/modules/scsi_mod.ko\n\n  /lib/modules/sd_mod.ko.zst  \n";
        let paths: Vec<&str> = super::paths(order).collect();
        assert_eq!(
            paths,
            ["/lib/modules/scsi_mod.ko", "/lib/modules/sd_mod.ko.zst"]
        );
    }
}
