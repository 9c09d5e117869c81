//! What packs about to be written together have in common: their dictionary.
//!
//! Some of their blocks are looked at, spread over all of them; of those only what was posted in
//! rooms that are no secret, and that stays.
//!
//! INVARIANT: nothing of a secret room, of a system room or of a room that nobody knows is looked
//! at.

use std::collections::HashMap;
use std::sync::Arc;

use super::Job;
use super::rewrite::Tools;
use super::share::Share;
use crate::apply::decode_row;
use crate::catalog::rows::RoomRow;
use crate::catalog::{CatalogStore, Family, keys};
use crate::dictionary::Samples;
use crate::error::{Error, Result};
use crate::format::dictionary::Dictionary;
use crate::format::payload::{Kind, Payload, Privacy};
use crate::format::record::{Outline, Record};
use crate::format::runs::Runs;
use crate::limits;
use crate::pack::Packs;
use crate::sync::give_way;
use crate::types::RoomId;

/// About the part of records that is what was said.
const SAID_PART: u64 = 3;

/// A dictionary for what a job writes, from the runs of a share of its rooms; none if they are few,
/// or have little in common.
///
/// # Errors
/// `Io` of the catalog, or `Unavailable` if the work is ended. Blocks that cannot be read are
/// passed over.
pub(super) fn dictionary(
    tools: &mut Tools<'_>,
    packs: &Packs,
    job: &Job,
    (share, runs): (Share, &Runs),
) -> Result<Option<Arc<Dictionary>>> {
    let bytes: u64 = job.inputs.iter().map(|meta| meta.bytes).sum();
    if bytes < limits::DICTIONARY_PACK_BYTES_MIN {
        return Ok(None);
    }
    let plain = share.part_of(job.inputs.iter().map(|meta| meta.plain_bytes).sum());
    let every = plain / SAID_PART / limits::DICTIONARY_SAMPLE_BYTES as u64 + 1;
    let every = usize::try_from(every).unwrap_or(usize::MAX);
    let mut open: HashMap<RoomId, bool> = HashMap::new();
    let mut samples = Samples::default();
    let blocks = runs.iter().map(Arc::new).flat_map(|run| {
        let fences = 0..run.blocks.len();
        fences.map(move |index| (Arc::clone(&run), index))
    });
    for (run, index) in blocks.step_by(every) {
        let Some(fence) = run.blocks.get(index) else { continue };
        let may = match open.get(&run.room) {
            Some(may) => *may,
            None => {
                let may = may_be_looked_at(tools.store, run.room)?;
                open.insert(run.room, may);
                may
            }
        };
        if !may || samples.is_full() {
            continue;
        }
        give_way();
        let Ok(block) = packs.whole(&run, fence) else { continue };
        if !(tools.pace)(fence.share as usize) {
            return Err(Error::Unavailable { why: "the merge was ended" });
        }
        for bytes in (0..block.len()).filter_map(|at| block.record(at)) {
            let Ok(outline) = Outline::from_bytes(&bytes) else { continue };
            if outline.kind != Kind::Post || tools.purge.takes(&outline, &bytes)? {
                continue;
            }
            let Ok(record) = Record::from_bytes(&bytes) else { continue };
            if let Payload::Post(post) = &record.payload {
                samples.add(post.body.as_bytes(), record.actor.id, record.room);
            }
        }
    }
    let found = samples.dictionary(limits::DICTIONARY_BYTES_TARGET);
    Ok(found.and_then(|bytes| Dictionary::new(bytes).ok()).map(Arc::new))
}

fn may_be_looked_at(store: &dyn CatalogStore, room: RoomId) -> Result<bool> {
    if room.is_system() {
        return Ok(false);
    }
    let row = store.get(Family::State, &keys::room(room))?;
    let row = row.map(|bytes| decode_row::<RoomRow>(&bytes, "room row")).transpose()?;
    Ok(row.is_some_and(|row| row.settings.privacy != Privacy::Secret))
}
