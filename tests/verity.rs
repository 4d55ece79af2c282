//! Hash trees: byte for byte those of `veritysetup`, each accepted by the other, and no flipped bit overlooked.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use pvr_agent::dm::{
    Algorithm, BlockSize, Built, DmError, HashType, Head, Layout, Manifest, Outline, Params, RootHash, Salt, Source,
    Uuid, build, check, verify,
};
use pvr_agent::state::parse::parse_strict;
use pvr_agent::state::{JsonLimits, Object, StatePath, Value, canonical::to_canonical};
use sha2::{Digest, Sha256};

#[path = "black_box/chance.rs"]
mod chance;

use chance::Dice;

const UUID: &str = "4c15a854-eacc-4283-8e91-0a04504a2d5c";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn salt(length: usize) -> Salt {
    Salt::new((0..length).map(|at| at as u8).collect()).unwrap()
}

fn params(hash_type: HashType, algorithm: Algorithm, data: u64, hash: u64, salt: Salt) -> Params {
    let (data_block, hash_block) = (BlockSize::new(data).unwrap(), BlockSize::new(hash).unwrap());
    Params { hash_type, algorithm, data_block, hash_block, salt }
}

fn usual(length: usize) -> Params {
    Params::usual(salt(length))
}

/// Makes the tree of a file.
fn make(data: &Path, hash: &Path, params: &Params, head: Head) -> Result<Built, DmError> {
    let data = File::open(data).unwrap();
    let bytes = data.metadata().unwrap().len();
    let out = OpenOptions::new().write(true).create(true).truncate(true).open(hash).unwrap();
    build(Source::File(&data), bytes, params, head, &out)
}

fn with_superblock() -> Head {
    Head::Superblock(Uuid::parse(UUID).unwrap())
}

/// A file of blocks that differ.
fn volume(path: &Path, bytes: u64) {
    let mut file = File::create(path).unwrap();
    let mut block = vec![0; 1 << 20];
    let mut at = 0u64;
    while at < bytes {
        for (index, word) in block.chunks_exact_mut(8).enumerate() {
            let word_at = at / 8 + index as u64;
            word.copy_from_slice(&(word_at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word_at >> 7).to_le_bytes());
        }
        let length = (bytes - at).min(block.len() as u64);
        file.write_all(&block[..length as usize]).unwrap();
        at += length;
    }
}

/// `veritysetup` with these arguments: what it prints, or nothing where it fails.
fn veritysetup(args: &[&str]) -> Option<String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new("veritysetup").args(args).env("PATH", path).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Whether there is a `veritysetup`; where there has to be one, there is.
fn has_veritysetup(test: &str) -> bool {
    let places = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let has = places.split(':').any(|place| Path::new(place).join("veritysetup").exists());
    assert!(has || std::env::var_os("CI_RUN").is_none(), "{test}: veritysetup (cryptsetup-bin) has to be installed");
    if !has {
        eprintln!("{test}: SKIPPED, there is no veritysetup");
    }
    has
}

/// Formats with `veritysetup`: the root hash.
fn theirs(data: &Path, hash: &Path, params: &Params, superblock: bool) -> Option<String> {
    fs::remove_file(hash).ok();
    let mut args = flags(params, superblock);
    args.insert(0, "format".to_owned());
    args.extend([data, hash].map(|path| path.to_str().unwrap().to_owned()));
    let out = veritysetup(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
    let line = out.lines().find_map(|line| line.strip_prefix("Root hash:"));
    Some(line.unwrap().trim().to_owned())
}

fn flags(params: &Params, superblock: bool) -> Vec<String> {
    let mut flags = vec![
        format!("--salt={}", params.salt),
        format!("--hash={}", params.algorithm.name()),
        format!("--data-block-size={}", params.data_block.get()),
        format!("--hash-block-size={}", params.hash_block.get()),
        format!("--format={}", params.hash_type.number()),
    ];
    flags.push(if superblock { format!("--uuid={UUID}") } else { "--no-superblock".to_owned() });
    flags
}

/// Whether both make the same of a file, and each accepts what the other has made.
fn same(folder: &Path, params: &Params, superblock: bool, what: &str) {
    let [data, ours_at, theirs_at] = ["data", "ours", "theirs"].map(|name| folder.join(name));
    let head = if superblock { with_superblock() } else { Head::None };
    let ours = make(&data, &ours_at, params, head);
    let Some(root) = theirs(&data, &theirs_at, params, superblock) else {
        assert!(matches!(ours, Err(DmError::TooSmall { .. })), "{what}: {ours:?}");
        return;
    };
    let ours = ours.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(ours.root.to_string(), root, "{what}");
    let same = fs::read(&ours_at).unwrap() == fs::read(&theirs_at).unwrap();
    assert!(same, "{what}: the trees differ");
    assert_eq!(ours.length, fs::metadata(&ours_at).unwrap().len(), "{what}");

    let mut args = vec!["verify".to_owned()];
    if !superblock {
        args.extend(flags(params, false));
        args.push(format!("--data-blocks={}", ours.data_blocks));
    }
    args.extend([&data, &ours_at].map(|path| path.to_str().unwrap().to_owned()));
    args.push(root.clone());
    let accepted = veritysetup(&args.iter().map(String::as_str).collect::<Vec<_>>()).is_some();
    assert!(accepted, "{what}: veritysetup does not accept ours");
    let file = File::open(&data).unwrap();
    let tree = File::open(&theirs_at).unwrap();
    if superblock {
        let checked = check(&manifest(params, &root), &file, &tree).unwrap();
        assert!(checked.report.is_clean() && checked.stale == 0, "{what}: {checked:?}");
        assert_eq!(checked.uncovered, ours.uncovered, "{what}");
        // Of gibibytes that takes its time, and shows nothing else.
        if ours.data_blocks < 1 << 18 {
            streamed(&manifest(params, &root), &data, &theirs_at).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    } else {
        let layout = Layout::new(params, ours.data_blocks, false).unwrap();
        let report = verify(Source::File(&file), &tree, params, &layout, &ours.root).unwrap();
        assert!(report.is_clean(), "{what}: {report:?}");
    }
}

/// The same check of what can only be read from its beginning to its end.
fn streamed(manifest: &Manifest, data: &Path, hash: &Path) -> Result<(), DmError> {
    let open = |path: &Path| {
        let file = File::open(path).unwrap();
        let length = file.metadata().unwrap().len();
        (file, length)
    };
    let ((mut hash, hash_bytes), (mut data, bytes)) = (open(hash), open(data));
    Outline::read(manifest, &mut hash, hash_bytes)?.agrees_with(manifest, &mut data, bytes)
}

fn manifest(params: &Params, root: &str) -> Manifest {
    Manifest {
        data_device: StatePath::parse("data").unwrap(),
        hash_device: StatePath::parse("data.hash").unwrap(),
        root_hash: RootHash::parse(root).unwrap(),
        salt: params.salt.clone(),
        uuid: Uuid::parse(UUID).unwrap(),
    }
}

#[test]
fn the_table_of_known_trees() {
    let folder = tempfile::tempdir().unwrap();
    let (data, hash) = (folder.path().join("data"), folder.path().join("hash"));
    for (blocks, salted, root, sha, length) in [
        (
            1u64,
            32,
            "b019ff378626bcff705c1be13234d355a920b68694f2e8f1f7021d155730a416",
            "c43a0811ea73ebd314e52a552d27ad58cacb6f0e55b7b9c39d1a1c22722856a7",
            4096,
        ),
        (
            2,
            32,
            "a17cc16c86e62f40f61aeedbc8c350fb5e1b61a6dfdb374724ecd18d00ef84e8",
            "6385bd1c67fd715176bfc196637d7fc334cdbb0569a3d887b973167113290153",
            8192,
        ),
        (
            128,
            32,
            "d001cf6cd7fde132609d7362a90da61daf3f723f2338bf069fc891394539ac14",
            "679f5b959e7b77c25055eb93297f0d6c4c20a6aee60273a82c27ee7746eb0425",
            8192,
        ),
        (
            129,
            32,
            "2cc5b80a7b3dd84a30c873191479a57b1b9b22982a90939c73b52ad71bee80c9",
            "8279a27e588f8f403aa5d307e666d1b232a5c15eb0c71bbc07957c52863362c9",
            16384,
        ),
        (
            16385,
            32,
            "8d06a23fef997ef3c5eefb5a7140b02d6552f0f3d8f05eb56805af57a6695333",
            "ef23a08d7148594106b7d97c2502356ebfe7a71578665760b632f2a49a3ab9e0",
            544_768,
        ),
        (
            2,
            0,
            "8da2be6c70546d330b70db0304d24808e560986358c15c2130b815aae4e6ab39",
            "8a6f66f389075db81922b808fe758103ec783560fb8c5ca9b65a0c4415b07c32",
            8192,
        ),
    ] {
        let mut file = File::create(&data).unwrap();
        for block in 0..blocks {
            file.write_all(&Sha256::digest(block.to_le_bytes()).repeat(128)).unwrap();
        }
        let built = make(&data, &hash, &usual(salted), with_superblock()).unwrap();
        let got = (built.root.to_string(), hex(&Sha256::digest(fs::read(&hash).unwrap())), built.length);
        assert_eq!(got, (root.to_owned(), sha.to_owned(), length), "{blocks} blocks");
    }
}

#[test]
fn bit_identical_with_veritysetup() {
    if !has_veritysetup("bit_identical_with_veritysetup") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut compared = 0;
    for block in [512, 1024, 4096] {
        // From the largest on, each is the beginning of the one before.
        volume(&data, 16386 * block);
        let file = OpenOptions::new().write(true).open(&data).unwrap();
        let sizes = [16385, 16384, 129, 128, 127, 1, 0].into_iter();
        let odd = [block - 1, 1, 0];
        for (turn, (blocks, rest)) in sizes.flat_map(|blocks| odd.map(|rest| (blocks, rest))).enumerate() {
            file.set_len(blocks * block + rest).unwrap();
            let is_large = blocks > 129;
            for (at, algorithm) in [Algorithm::Sha256, Algorithm::Sha512].into_iter().enumerate() {
                for (which, length) in [0, 32, 256].into_iter().enumerate() {
                    // Of the large ones every salt once, and each with and without superblock.
                    if is_large && which != (turn + at) % 3 {
                        continue;
                    }
                    let params = params(HashType::Normal, algorithm, block, block, salt(length));
                    for superblock in [true, false] {
                        if is_large && superblock != (rest != 1) {
                            continue;
                        }
                        let what = format!(
                            "{blocks} blocks of {block} and {rest}, {algorithm:?}, salt {length}, {superblock}"
                        );
                        same(folder.path(), &params, superblock, &what);
                        compared += 1;
                    }
                }
            }
        }
    }
    println!("compared {compared} trees");
    assert!(compared > 500, "{compared}");
}

#[test]
fn and_with_everything_else_that_can_be_chosen() {
    if !has_veritysetup("and_with_everything_else_that_can_be_chosen") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for hash_type in [HashType::ChromeOs, HashType::Normal] {
        for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
            for (data_block, hash_block) in [(512, 4096), (4096, 512), (1024, 65536), (65536, 2048), (8192, 8192)] {
                for blocks in [1, 2, 300] {
                    volume(&data, blocks * data_block);
                    let params = params(hash_type, algorithm, data_block, hash_block, salt(7));
                    for superblock in [true, false] {
                        let what = format!(
                            "{blocks} of {data_block}, {hash_block}, {hash_type:?}, {algorithm:?}, {superblock}"
                        );
                        same(folder.path(), &params, superblock, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn a_sparse_file_of_4_gib() {
    if !has_veritysetup("a_sparse_file_of_4_gib") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("data")).unwrap();
    file.set_len(4 << 30).unwrap();
    file.write_all_at(b"somewhere", (3 << 30) + 12345).unwrap();
    same(folder.path(), &usual(32), true, "4 GiB");
}

/// A volume on disk with its hash file and manifest, as a container has them.
struct Container {
    folder: tempfile::TempDir,
    files: [Vec<u8>; 3],
}

const NAMES: [&str; 3] = ["root.squashfs", "root.squashfs.hash", "manifest"];

impl Container {
    fn new(params: &Params, blocks: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [data, hash, manifest_at] = NAMES.map(|name| folder.path().join(name));
        volume(&data, blocks * u64::from(params.data_block.get()));
        let built = make(&data, &hash, params, with_superblock()).unwrap();
        let mut said = manifest(params, &built.root.to_string());
        said.data_device = StatePath::parse(NAMES[0]).unwrap();
        said.hash_device = StatePath::parse(NAMES[1]).unwrap();
        let mut members = Object::new();
        said.write_over(&mut members);
        fs::write(&manifest_at, to_canonical(&Value::Object(members)).unwrap()).unwrap();
        let files = [data, hash, manifest_at].map(|path| fs::read(path).unwrap());
        Self { folder, files }
    }

    /// Whether all of it is found to be right; the error says why not.
    fn is_right(&self) -> Result<(), String> {
        let text = fs::read(self.folder.path().join(NAMES[2])).unwrap();
        let value = parse_strict(&text, &JsonLimits::default()).map_err(|error| error.to_string())?;
        let manifest = Manifest::parse(&value).map_err(|error| error.to_string())?;
        let open = |key: &StatePath| File::open(key.below(self.folder.path())).map_err(|error| error.to_string());
        let (data, hash) = (open(&manifest.data_device)?, open(&manifest.hash_device)?);
        let checked = check(&manifest, &data, &hash).map_err(|error| error.to_string())?;
        let right = checked.report.is_clean() && checked.stale == 0;
        let path = |key: &StatePath| key.below(self.folder.path());
        let also = streamed(&manifest, &path(&manifest.data_device), &path(&manifest.hash_device));
        assert_eq!(also.is_ok(), right, "{checked:?}, but {also:?} where it is streamed");
        if right { Ok(()) } else { Err(format!("{checked:?}")) }
    }

    fn flip(&self, file: usize, bit: u64) -> Result<(), String> {
        let (at, mask) = (bit / 8, 1 << (bit % 8));
        let file_at = OpenOptions::new().write(true).open(self.folder.path().join(NAMES[file])).unwrap();
        let byte = self.files[file][at as usize];
        file_at.write_all_at(&[byte ^ mask], at).unwrap();
        let judged = self.is_right();
        file_at.write_all_at(&[byte], at).unwrap();
        judged
    }
}

#[test]
fn every_flipped_bit_is_found() {
    use Algorithm::{Sha1, Sha256, Sha512};
    use HashType::{ChromeOs, Normal};
    let containers = [
        Container::new(&params(Normal, Sha256, 4096, 4096, salt(32)), 130),
        Container::new(&params(Normal, Sha256, 4096, 4096, salt(0)), 3),
        Container::new(&params(Normal, Sha512, 512, 512, salt(256)), 70),
        Container::new(&params(Normal, Sha1, 512, 1024, salt(1)), 40),
        Container::new(&params(ChromeOs, Sha1, 512, 512, salt(9)), 40),
        Container::new(&params(Normal, Sha256, 1024, 4096, salt(32)), 1),
    ];
    for container in &containers {
        assert_eq!(container.is_right(), Ok(()));
    }
    let mut dice = Dice::new("every_flipped_bit_is_found");
    let flips = chance::rounds(2000, 200);
    let mut kinds = [0; 4];
    for number in 0..flips {
        let container = &containers[dice.below(containers.len() as u64) as usize];
        let (kind, file) = [(0, 0), (1, 1), (2, 1), (3, 2)][number % 4];
        let bits = if kind == 1 { 512 } else { container.files[file].len() as u64 } * 8;
        // The tree begins behind the superblock.
        let from = if kind == 2 && bits > 512 * 8 { 512 * 8 } else { 0 };
        let bit = from + dice.below(bits - from);
        assert!(container.flip(file, bit).is_err(), "bit {bit} of {}", NAMES[file]);
        kinds[kind] += 1;
    }
    println!("{flips} bits: {kinds:?} in data, superblock, tree, manifest");
    assert!(kinds.iter().all(|count| *count >= 50), "{kinds:?}");
}

#[test]
fn every_bit_of_a_superblock_and_of_a_manifest() {
    let mut dice = Dice::new("every_bit_of_a_superblock_and_of_a_manifest");
    for container in [
        Container::new(&usual(32), 2),
        Container::new(&params(HashType::Normal, Algorithm::Sha256, 512, 512, salt(0)), 17),
        Container::new(&params(HashType::ChromeOs, Algorithm::Sha512, 512, 512, salt(3)), 17),
    ] {
        assert_eq!(container.is_right(), Ok(()));
        for (file, bytes) in [(1, 512), (2, container.files[2].len())] {
            // All of them at full weight, else one of ten.
            let step = 2000 / chance::rounds(2000, 200);
            for bit in (dice.below(step as u64)..bytes as u64 * 8).step_by(step) {
                assert!(container.flip(file, bit).is_err(), "bit {bit} of {}", NAMES[file]);
            }
        }
    }
}

#[test]
fn the_first_bad_block_and_how_many() {
    let folder = tempfile::tempdir().unwrap();
    let [data, hash] = ["data", "data.hash"].map(|name| folder.path().join(name));
    volume(&data, 300 * 4096);
    let params = usual(32);
    let root = make(&data, &hash, &params, with_superblock()).unwrap().root.to_string();
    let report = || {
        let (file, tree) = (File::open(&data).unwrap(), File::open(&hash).unwrap());
        let report = check(&manifest(&params, &root), &file, &tree).unwrap().report;
        let bad = |bad: Option<pvr_agent::dm::Bad>| bad.map(|bad| (bad.block, bad.offset, bad.count));
        (bad(report.data), bad(report.tree), report.unknown)
    };
    let spoil = |path: &Path, at: u64| {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    };
    assert_eq!(report(), (None, None, 0));
    spoil(&data, 299 * 4096 + 4095);
    spoil(&data, 7 * 4096);
    assert_eq!(report(), (Some((7, 7 * 4096, 2)), None, 0));
    // The second of three blocks of the lowest level: 128 blocks of the volume lie below it.
    spoil(&hash, 3 * 4096 + 9);
    assert_eq!(report(), (Some((7, 7 * 4096, 2)), Some((3, 3 * 4096, 1)), 128));
    spoil(&hash, 3 * 4096 + 9);
    spoil(&hash, 4096);
    assert_eq!(report(), (None, Some((1, 4096, 1)), 300), "nothing can be said below a bad top");
}

#[test]
fn what_lies_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let [data, hash] = ["data", "data.hash"].map(|name| folder.path().join(name));
    volume(&data, 3 * 4096);
    let params = usual(32);
    let root = make(&data, &hash, &params, with_superblock()).unwrap().root.to_string();
    let right = fs::read(&hash).unwrap();
    let judge = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = right.clone();
        change(&mut bytes);
        fs::write(&hash, bytes).unwrap();
        let (file, tree) = (File::open(&data).unwrap(), File::open(&hash).unwrap());
        let checked = check(&manifest(&params, &root), &file, &tree);
        let also = streamed(&manifest(&params, &root), &data, &hash);
        assert_eq!(checked.is_ok(), also.is_ok(), "{checked:?}, but {also:?} where it is streamed");
        checked
    };
    for blocks in [4, 1 << 40, u64::MAX / 4096, u64::MAX] {
        let judged = judge(&|bytes| bytes[72..80].copy_from_slice(&blocks.to_le_bytes()));
        assert!(matches!(judged, Err(DmError::Beyond { .. })), "{blocks}: {judged:?}");
    }
    for length in [0, 1, 511, 512, 4096, 8191] {
        let judged = judge(&|bytes| bytes.truncate(length));
        assert!(judged.as_ref().is_err_and(DmError::is_finding), "{length}: {judged:?}");
    }
    assert!(matches!(judge(&|bytes| bytes[512] = 1), Err(DmError::Padding(512))));
    assert!(matches!(judge(&|bytes| bytes[4095] = 1), Err(DmError::Padding(4095))));
    // What today's tools leave behind when a volume shrinks, and a device does not mind.
    let stale = judge(&|bytes| bytes.extend([7; 4096])).unwrap();
    assert!(stale.report.is_clean() && stale.stale == 4096, "{stale:?}");
    let mut short = OpenOptions::new().write(true).open(&data).unwrap();
    short.set_len(2 * 4096 + 1).unwrap();
    short.rewind().unwrap();
    assert!(matches!(judge(&|_| ()), Err(DmError::Beyond { .. })));
}
