//! What the kernel and the file system below a store can do.
//!
//! Three calls are used where there are any and have a way around where there are none. A test takes each of
//! them away to walk the other way.

use rustix::fs::statfs;
use rustix::system::uname;
use std::path::Path;

/// What may be tried. A call that is allowed here and fails as unsupported still takes the way around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// `O_TMPFILE`, and `/proc/self/fd` to link what it makes. Without: a locked name in `tmp/`.
    pub unnamed: bool,
    /// `renameat2` with its flags. Without: a look, then `rename`, the old folder kept in `replaced/` meanwhile.
    pub rename_flags: bool,
    /// A `syncfs` that reports write errors. Without: `fsync` on every file.
    pub syncfs: bool,
}

impl Capabilities {
    /// Nothing: every way around.
    pub const NONE: Self = Self { unnamed: false, rename_flags: false, syncfs: false };

    /// What can be expected for files below `dir`.
    pub fn detect(dir: &Path) -> Self {
        let kernel = uname();
        let reports = kernel_at_least(&kernel.release().to_string_lossy(), 5, 8);
        Self {
            unnamed: Path::new("/proc/self/fd").is_dir(),
            rename_flags: true,
            syncfs: reports && statfs(dir).is_ok_and(|fs| SYNCFS_REPORTS.contains(&magic(fs.f_type))),
        }
    }
}

/// ext2–4, XFS, Btrfs, F2FS, tmpfs, UBIFS. Not overlayfs: the errors of the layer below don't reach the caller of
/// `syncfs` there.
const SYNCFS_REPORTS: [u32; 6] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x0102_1994, 0x2405_1905];

/// The type of `f_type` differs between architectures; the magic numbers are 32 bits everywhere.
fn magic(f_type: impl TryInto<i64>) -> u32 {
    f_type.try_into().map_or(0, |t| (t & 0xFFFF_FFFF) as u32)
}

/// Since 5.8 `syncfs` returns errors of earlier write-back.
fn kernel_at_least(release: &str, major: u32, minor: u32) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(a)), Some(Ok(b))) = (numbers.next(), numbers.next()) else {
        return false;
    };
    (a, b) >= (major, minor)
}

#[cfg(test)]
mod tests {
    use super::kernel_at_least;

    #[test]
    fn kernel_releases_are_compared_as_numbers() {
        for (release, yes) in [
            ("5.8.0", true),
            ("5.8", true),
            ("5.10.0-rc1", true),
            ("6.1.21-v8+", true),
            ("10.0", true),
            ("5.7.19", false),
            ("4.19.113-android", false),
            ("5", false),
            ("", false),
            ("x.y", false),
        ] {
            assert_eq!(kernel_at_least(release, 5, 8), yes, "{release}");
        }
    }
}
