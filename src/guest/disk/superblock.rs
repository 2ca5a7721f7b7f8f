//! File systems by their superblocks: type and label, no more.

/// What a block device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Type, as `mount(2)` takes it.
    pub kind: &'static str,
    /// Label; empty where there is none.
    pub label: String,
}

/// Where a file system says what it is.
struct Layout {
    kind: &'static str,
    magic: (u64, &'static [u8]),
    /// Offset and longest length, bytes.
    label: (u64, usize),
}

const LAYOUTS: [Layout; 4] = [
    // One superblock for all three generations, and one driver.
    Layout {
        kind: "ext4",
        magic: (1080, &[0x53, 0xEF]),
        label: (1144, 16),
    },
    Layout {
        kind: "xfs",
        magic: (0, b"XFSB"),
        label: (108, 12),
    },
    Layout {
        kind: "btrfs",
        magic: (65_600, b"_BHRfS_M"),
        label: (65_835, 256),
    },
    Layout {
        kind: "iso9660",
        magic: (32_769, b"CD001"),
        label: (32_808, 32),
    },
];

/// Finds out what a device holds. `read` fills a buffer from an offset; false: it cannot, as on a
/// device that is shorter.
pub fn identify(mut read: impl FnMut(u64, &mut [u8]) -> bool) -> Option<FileSystem> {
    LAYOUTS.iter().find_map(|layout| {
        let (offset, magic) = layout.magic;
        let mut found = vec![0; magic.len()];
        if !read(offset, &mut found) || found != magic {
            return None;
        }
        let (offset, length) = layout.label;
        let mut label = vec![0; length];
        if !read(offset, &mut label) {
            return None;
        }
        let text = label.split(|byte| *byte == 0).next().unwrap_or_default();
        let label = String::from_utf8_lossy(text).trim_end().to_owned();
        Some(FileSystem {
            kind: layout.kind,
            label,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(image: &[u8]) -> Option<FileSystem> {
        identify(|offset, buffer| {
            let start = usize::try_from(offset).expect("a small image");
            match image.get(start..start + buffer.len()) {
                Some(bytes) => {
                    buffer.copy_from_slice(bytes);
                    true
                }
                None => false,
            }
        })
    }

    fn image(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut image = vec![0; 128 << 10];
        for (offset, bytes) in parts {
            image.splice(*offset..*offset + bytes.len(), bytes.iter().copied());
        }
        image
    }

    #[test]
    fn each_type_is_known_by_its_magic_and_read_for_its_label() {
        let found = |parts: &[(usize, &[u8])]| of(&image(parts)).map(|f| (f.kind, f.label));
        let expected = |kind, label: &str| Some((kind, label.to_owned()));
        let ext4 = found(&[(1080, &[0x53, 0xEF]), (1144, b"containerfs")]);
        assert_eq!(ext4, expected("ext4", "containerfs"));
        // A label as long as its field has no NUL behind it.
        let ext4 = found(&[(1080, &[0x53, 0xEF]), (1144, b"sixteen-letters-and-more")]);
        assert_eq!(ext4, expected("ext4", "sixteen-letters-"));
        assert_eq!(
            found(&[(0, b"XFSB"), (108, b"data")]),
            expected("xfs", "data")
        );
        let btrfs = found(&[(65_600, b"_BHRfS_M"), (65_835, b"volume 1")]);
        assert_eq!(btrfs, expected("btrfs", "volume 1"));
        let iso = found(&[
            (32_769, b"CD001"),
            (32_808, b"BOOT                            "),
        ]);
        assert_eq!(iso, expected("iso9660", "BOOT"));
    }

    #[test]
    fn an_empty_or_short_device_holds_nothing() {
        assert_eq!(of(&image(&[])), None);
        assert_eq!(of(&[0; 512]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn mke2fs_s_own_image_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        let made = std::process::Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-L", "containerfs"])
            .arg(&path)
            .arg("1M")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .status();
        assert!(made.expect("e2fsprogs is installed").success());
        let found = of(&std::fs::read(&path).expect("made"));
        assert_eq!(
            found,
            Some(FileSystem {
                kind: "ext4",
                label: "containerfs".into()
            })
        );
    }
}
