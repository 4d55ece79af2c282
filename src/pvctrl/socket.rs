//! Where the socket may be.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Its places, in the order in which they are looked at: of a full system, of the initramfs, in a container.
pub const SOCKETS: [&str; 3] = ["/run/pantavisor/pv/pv-ctrl", "/pv/pv-ctrl", "/pantavisor/pv-ctrl"];

/// The first of the places at which there is a socket.
pub fn find() -> Option<PathBuf> {
    first_socket(SOCKETS.iter().map(Path::new))
}

fn first_socket<'a>(places: impl Iterator<Item = &'a Path>) -> Option<PathBuf> {
    let is_socket = |path: &&Path| fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    places.into_iter().find(is_socket).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::first_socket;
    use std::fs;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_first_that_is_a_socket_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let [file, absent, one, two] = ["file", "absent", "one", "two"].map(|name| dir.path().join(name));
        fs::write(&file, "").unwrap();
        let all = [file, absent, one.clone(), two.clone()];
        let find = || first_socket(all.iter().map(|path| path.as_path()));
        assert_eq!(find(), None);
        let _two = UnixListener::bind(&two).unwrap();
        assert_eq!(find(), Some(two));
        let _one = UnixListener::bind(&one).unwrap();
        assert_eq!(find(), Some(one));
    }
}
