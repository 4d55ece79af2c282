//! The superblock of a hash file, and the manifest of a volume: what is taken has no other spelling, and a tree of that
//! shape has a length or is too large.

use pvr_agent::dm::{Layout, Manifest, SUPERBLOCK_BYTES, Superblock};
use pvr_agent::state::parse::parse_strict;
use pvr_agent::state::{JsonLimits, Object, Value};

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    let superblock = Superblock::parse(data).ok();
    if let Some(superblock) = &superblock {
        assert_eq!(superblock.to_bytes(), data[..SUPERBLOCK_BYTES], "every byte of it means something");
        for with in [true, false] {
            if let Ok(layout) = Layout::new(&superblock.params, superblock.data_blocks, with) {
                let blocks = layout.length() / u64::from(superblock.params.hash_block.get());
                assert!(blocks >= layout.hash_blocks(), "{layout:?}");
            }
        }
    }
    // A manifest may stand behind a superblock, so that the two can be held against each other.
    for text in [Some(data), superblock.as_ref().and_then(|_| data.get(SUPERBLOCK_BYTES..))].into_iter().flatten() {
        let Ok(value) = parse_strict(text, &JsonLimits::default()) else { continue };
        let Ok(manifest) = Manifest::parse(&value) else { continue };
        let mut members = value.as_object().cloned().unwrap_or_default();
        manifest.write_over(&mut members);
        assert_eq!(Value::Object(members), value, "a manifest is written as it was read");
        let mut alone = Object::new();
        manifest.write_over(&mut alone);
        assert_eq!(Manifest::parse(&Value::Object(alone)).as_ref(), Ok(&manifest));
        if let Some(superblock) = &superblock
            && manifest.agrees_with(superblock).is_ok()
        {
            assert_eq!((&manifest.salt, manifest.uuid), (&superblock.params.salt, superblock.uuid));
        }
    }
}
