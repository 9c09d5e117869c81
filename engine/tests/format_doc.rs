//! FORMAT.md's tables are made from the code's own field lists, and compared with what stands
//! there.
//!
//! `HANSARD_BLESS=1 cargo test -p hansard-engine --test format_doc` writes them anew.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::Write as _;

use hansard_engine::catalog::rows::*;
use hansard_engine::erase::Owed;
use hansard_engine::format::manifest::Edit;
use hansard_engine::format::pack::{PackIndex, PackMeta};
use hansard_engine::format::payload::*;
use hansard_engine::format::run::{BlockRef, Run};
use hansard_engine::format::run_before::{BlockRefOfFormat1, RunOfFormat1};
use hansard_engine::format::wire::Fields;
use hansard_engine::proof::salts::{SaltNode, Salts};

const BEGIN: &str = "<!-- generated: format_doc -->";
const END: &str = "<!-- end of generated -->";

fn table(out: &mut String, title: &str, fields: &[(&str, &str)]) {
    writeln!(out, "\n`{title}`\n\n| field | bytes |\n|---|---|").unwrap();
    for (field, shape) in fields {
        writeln!(out, "| {field} | {shape} |").unwrap();
    }
}

fn words(out: &mut String, title: &str, values: &[(u8, &str)]) {
    let list: Vec<String> = values.iter().map(|(code, word)| format!("{code} {word}")).collect();
    writeln!(out, "- `{title}`: {}", list.join(", ")).unwrap();
}

macro_rules! enumerate {
    ($out:expr, $($name:ident),*) => {$(
        let values: Vec<(u8, &str)> = $name::ALL.iter().map(|v| (v.code(), v.as_str())).collect();
        words($out, stringify!($name), &values);
    )*};
}

macro_rules! structs {
    ($out:expr, $($name:ident),*) => {$(
        table($out, stringify!($name), <$name as Fields>::FIELDS);
    )*};
}

fn generated() -> String {
    let mut out = String::new();
    out.push_str("\n### Kinds of records\n\n| kind | name | body |\n|---|---|---|\n");
    for kind in Kind::ALL {
        let fields: Vec<&str> = kind.fields().iter().map(|(field, _)| *field).collect();
        writeln!(out, "| {} | {} | {} |", kind.code(), kind.as_str(), fields.join(", ")).unwrap();
    }
    out.push_str("\n### Words stored as one byte\n\n");
    enumerate!(
        &mut out,
        EntryKind,
        RoomKind,
        Privacy,
        Invitations,
        PrincipalKind,
        AuditKind,
        ChangePolicy
    );
    out.push_str("\n### Bodies of records and the structs in them\n");
    structs!(&mut out, Post, ImportMark, Lost, ImportProgress, Edited, Redacted);
    structs!(&mut out, Expired, Erased, ErasedRecord, HoldPlaced, HoldReleased, HoldSettings);
    structs!(&mut out, ComplianceExpired, Salts, SaltNode, SigningKey, RoomHeads, RoomHead);
    structs!(&mut out, SignedHead);
    structs!(&mut out, RoomCreated, RoomChanged);
    structs!(
        &mut out,
        RoomDeleted,
        RoomSettings,
        Retention,
        MemberSet,
        MemberRemoved,
        CategoryCreated
    );
    structs!(&mut out, CategoryChanged, CategoryDeleted, CategorySettings, PrincipalCreated);
    structs!(&mut out, PrincipalChanged, PrincipalSettings, TokenCreated, TokenRevoked, Audit);
    structs!(&mut out, Setting, LossAccepted, LsnSpan);
    out.push_str("\n### Packs and manifest\n");
    structs!(&mut out, PackIndex, Run, BlockRef, RunOfFormat1, BlockRefOfFormat1, PackMeta, Edit);
    out.push_str("\n### Rows of the catalog\n");
    structs!(&mut out, RoomRow, HeadRow, MemberRow, CategoryRow, PrincipalRow, TokenRow, KeyRow);
    structs!(&mut out, KeyEntry, KeyPage);
    structs!(&mut out, AppliedRow, AmendRow, PastRow, HoldRow, SaltRow, Owed);
    out.push('\n');
    out
}

#[test]
fn the_tables_of_format_md_are_those_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/FORMAT.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("FORMAT.md has no generated part");
    let (stands, after) = rest.split_once(END).expect("the generated part has no end");
    let wanted = generated();
    if std::env::var_os("HANSARD_BLESS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
    } else {
        assert!(stands == wanted, "FORMAT.md is not what the code says: run with HANSARD_BLESS=1");
    }
}
