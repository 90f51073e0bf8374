//! Entries that would be too long to be signed, because a pipeline said much about itself.

use cairn_oci::json;

use crate::entry::{Entry, How};
use crate::envelope::PAYLOAD_LIMIT;

/// What a statement has around its predicate, in bytes: types and subject.
const AROUND: usize = 300;
/// The name of somebody who is only claimed, in bytes, where room is short.
const CLAIMED: usize = 64;

impl Entry {
    /// The same, without what was only claimed if there is no room for it: the run, then where the source came from, then most
    /// of a claimed name. What somebody wants to be done never fails because of what a variable says.
    pub(crate) fn shortened(mut self) -> Self {
        if self.fits() {
            return self;
        }
        self.run = None;
        if let (false, Some(source)) = (self.fits(), &mut self.source) {
            source.repository = None;
            source.path = None;
            source.reference = None;
        }
        if self.actor.how == How::Claimed && !self.fits() {
            let cut = self.actor.id.char_indices().find(|(at, _)| *at > CLAIMED);
            if let Some((at, _)) = cut {
                self.actor.id.truncate(at);
            }
        }
        self
    }

    fn fits(&self) -> bool {
        json::canonical(self).len() + AROUND <= PAYLOAD_LIMIT
    }
}
