//! The bytes of every message about content stores, which never change once they were released: another machine may have another
//! build.

use serde::Serialize;

use super::super::messages::*;
use super::super::stream::{ItemWriter, Tag};
use super::path;
use crate::store::content::{Extended, Listing, ObjectKind, ObjectMeta, Ownership, Refusal};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn message(value: &impl Serialize) -> String {
    hex(&crate::wire::encode(value).unwrap())
}

/// An item as it goes.
fn item(tag: Tag, value: &impl Serialize) -> String {
    let mut said = Vec::new();
    let mut writer = ItemWriter::new(|part: &[u8]| {
        said.extend_from_slice(part);
        Ok(())
    });
    writer.value(tag, value).unwrap();
    writer.flush().unwrap();
    drop(writer);
    hex(&said)
}

/// A file, and something that is refused.
fn listed(meta: ObjectMeta) -> String {
    let mut listing = Listing::default();
    assert!(listing.push(b"a", Ok(meta)) && listing.push(b"b", Err(Refusal::new("r", "a"))));
    let mut said = Vec::new();
    let mut writer = ItemWriter::new(|part: &[u8]| {
        said.extend_from_slice(part);
        Ok(())
    });
    super::super::listing::write(&mut writer, &Ok(listing)).unwrap();
    writer.flush().unwrap();
    drop(writer);
    hex(&said)
}

#[test]
fn messages_are_what_they_were_in_the_first_version() {
    // Keys are chosen anew: this one as somebody else's bytes would have it.
    let key: Key = postcard::from_bytes(&[7; 16]).unwrap();
    let mut root = Root::empty(key);
    root.add(b"a/b", &[1; 32]);
    root.add(b"", &[2; 32]);
    let owner = Ownership { user: 1000, group: 1001 };
    let meta = ObjectMeta {
        kind: ObjectKind::File,
        size: 3,
        mtime_ns: -4,
        ctime_ns: 5,
        inode: 6,
        device: 7,
        mode: 0o640,
        owner,
    };
    let extended = Extended([((*b"user.a").into(), (*b"x").into())].into());
    let open = Open {
        store: "share".to_owned(),
        number: 300,
        databases: vec!["users.sqlite".to_owned()],
        known: Some(root),
    };
    let about = |stands| About {
        stands,
        unmarkable: None,
        tick_ns: 8,
        now_ns: 9,
        root: Some(meta),
        abilities: None,
        foreign: vec![path("c")],
    };
    let folder = WalkedFolder { path: path("a"), digest: Some([3; 32]), count: 4, has_files: true };
    let refused = || Failure::Refused { reason: "r".to_owned(), advice: "a".to_owned() };
    let wanted = Wanted { path: path("a"), what: WantedWhat::Hash, held: Some([4; 32]) };
    let file = |inside| {
        FoundObject::File(FoundFile { meta, names: 1, is_solid: true, extended: extended.clone(), inside })
    };
    let digest = [5; 32];
    let group = NewGroup { number: 6, length: 3, blocks: key.blocks(b"abc") };
    let found = [
        ("open", message(&open)),
        ("missing", item(Tag::About, &about(Stands::Missing))),
        ("unmarked", item(Tag::About, &about(Stands::Unmarked { is_empty: true }))),
        ("marked", item(Tag::About, &about(Stands::Marked("{}".to_owned())))),
        ("walk", message(&Walk { number: 300, known: None })),
        ("folder", item(Tag::Folder, &folder)),
        ("walked", item(Tag::WalkEnd, &WalkEnd { is_same: true, count: 2, has_files: true })),
        ("path", item(Tag::Path, &path("a/b"))),
        ("listed", item(Tag::ListingEnd, &ListingEnd::Whole)),
        ("gone", item(Tag::ListingEnd, &ListingEnd::Failed(Failure::Gone))),
        ("entries", listed(meta)),
        ("wanted", item(Tag::Wanted, &wanted)),
        ("failed", item(Tag::FoundObject, &FoundObject::Failed { meta: None, why: refused() })),
        ("unread", item(Tag::FoundObject, &file(Inside::Unread))),
        ("hashed", item(Tag::FoundObject, &file(Inside::Hashed { digest, group_bytes: 64 }))),
        ("content", item(Tag::FoundObject, &file(Inside::Content))),
        ("link", item(Tag::FoundObject, &FoundObject::Link { meta, target: b"t".to_vec() })),
        ("directory", item(Tag::FoundObject, &FoundObject::Folder { meta, extended: Err(refused()) })),
        ("read", message(&Read { number: 300, path: path("a"), part: Some((1, 2)) })),
        ("hole", item(Tag::Hole, &300_u64)),
        ("patch", message(&Patch { number: 300, path: path("a"), key })),
        ("group", item(Tag::Group, &group)),
        ("blocks", item(Tag::WantedBlocks, &WantedBlocks { number: 6, bits: 129 })),
        ("mark", message(&Mark { number: 300, marker: "{}".to_owned() })),
    ];
    let found: Vec<String> = found.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
    assert_eq!(found, GOLDEN.lines().map(str::to_owned).collect::<Vec<_>>());
}

const GOLDEN: &str = "\
open 057368617265ac02010c75736572732e73716c6974650107070707070707070707070707070707b779a8daba8311f5abf1f1cf763acb2402
missing 150000000100001012010003070a0607a003e807e90700010163
unmarked 16000000010101001012010003070a0607a003e807e90700010163
marked 180000000102027b7d001012010003070a0607a003e807e90700010163
walk ac0200
folder 250000000201610103030303030303030303030303030303030303030303030303030303030303030401
walked 030000000b010201
path 040000000303612f62
listed 010000000500
gone 02000000050100
entries 16000000040161000003070a0607a003e807e90701620101720161010000000500
wanted 2400000006016101010404040404040404040404040404040404040404040404040404040404040404
failed 070000000700000101720161
unread 1a00000007010003070a0607a003e807e90701010106757365722e61017800
hashed 3b00000007010003070a0607a003e807e90701010106757365722e61017801050505050505050505050505050505050505050505050505050505050505050540
content 1a00000007010003070a0607a003e807e90701010106757365722e61017802
link 0f00000007020003070a0607a003e807e9070174
directory 1300000007030003070a0607a003e807e907010101720161
read ac020161010102
hole 0200000009ac02
patch ac02016107070707070707070707070707070707
group 130000000a060301660104ff0ce3acc3bf4ff23629295e88
blocks 020000000d0681
mark ac02027b7d";
