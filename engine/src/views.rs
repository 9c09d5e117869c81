//! Views: packs that were merged away stay until the last reader that may know of them is done.
//!
//! A reader holds the view that was the newest when it began. A merge ends the newest view and
//! begins another; the packs it replaced are unlinked when the ended view and all before it are
//! gone. No reader ever waits for a merge, nor a merge for a reader.
//!
//! INVARIANT: a pack that a run list named when a reader's view was the newest has its file for as
//! long as that reader holds the view.

use std::sync::Arc;

use crate::format::pack::pack_name;
use crate::pack::{self, Packs};
use crate::storage::{Disk, join};
use crate::sync::Mutex;

/// What a reader holds.
#[derive(Debug)]
pub(crate) struct View {
    disk: Disk,
    packs: Arc<Packs>,
    ended: Mutex<Ended>,
}

/// What the end of a view leaves behind.
#[derive(Debug, Default)]
struct Ended {
    /// Packs that no later view knows.
    gone: Vec<u64>,
    /// The view behind it: who holds this one may come to know what that one knows.
    _next: Option<Arc<View>>,
}

impl Drop for View {
    fn drop(&mut self) {
        for id in &self.ended.lock().gone {
            self.packs.forget(*id);
            let path = join(pack::DIR, &pack_name(*id));
            if let Err(error) = self.disk.remove_if_there(&path) {
                tracing::warn!(%error, path, "merged pack cannot be removed, the next start will");
            }
        }
    }
}

/// The newest view.
#[derive(Debug)]
pub(crate) struct Views {
    disk: Disk,
    packs: Arc<Packs>,
    newest: Mutex<Arc<View>>,
}

impl Views {
    pub(crate) fn new(disk: &Disk, packs: &Arc<Packs>) -> Self {
        let view = Self::begin(disk, packs);
        Self { disk: disk.clone(), packs: Arc::clone(packs), newest: Mutex::new(view) }
    }

    fn begin(disk: &Disk, packs: &Arc<Packs>) -> Arc<View> {
        Arc::new(View { disk: disk.clone(), packs: Arc::clone(packs), ended: Mutex::default() })
    }

    /// The newest view. Take it before anything else is read.
    pub(crate) fn newest(&self) -> Arc<View> {
        Arc::clone(&self.newest.lock())
    }

    /// Ends the newest view: no run list names these packs any more.
    pub(crate) fn retire(&self, gone: Vec<u64>) {
        let next = Self::begin(&self.disk, &self.packs);
        let old = std::mem::replace(&mut *self.newest.lock(), Arc::clone(&next));
        *old.ended.lock() = Ended { gone, _next: Some(next) };
        // Outside of every lock: it may be the last holder, and then it unlinks.
        drop(old);
    }
}
