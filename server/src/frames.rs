//! The text frames of the stream, both ways, and a room's changes as ready frames.
//!
//! Only shapes and their text; `session` sends them. INVARIANT: a frame of a change is the same for
//! every reader of the room, so it is written once.

use axum::extract::ws::Utf8Bytes;
use hansard_engine::reads::Changes;
use hansard_engine::types::{Lsn, Rev, RoomId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::view::{Author, Change, GapReason, Message};
use crate::problem::Code;

/// What a client sends.
#[derive(Debug, Deserialize, PartialEq, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClientFrame {
    /// The credential, for a connection that opened without one.
    Hello {
        /// A bearer token.
        token: String,
    },
    /// Send me what happens in this room.
    Subscribe {
        /// The room.
        room: String,
        /// The last rev I have; from now on if left out or null.
        #[serde(default)]
        after: Option<u64>,
    },
    /// No longer.
    Unsubscribe {
        /// The room.
        room: String,
    },
    /// Answer `pong`.
    Ping {},
}

/// What the server sends.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ServerFrame {
    /// The connection is signed in.
    Hello {
        /// This connection's name, for logs.
        session: String,
        /// The server's time.
        time: String,
        /// The epoch that revs and seqs belong to.
        epoch: u16,
        /// Who is signed in.
        principal: String,
    },
    /// The room's changes follow.
    Subscribed {
        /// The room.
        room: String,
        /// They follow after this rev.
        after: u64,
        /// The room's newest rev now.
        head: u64,
    },
    /// Something happened.
    Change {
        /// The room.
        room: String,
        /// Its place among the room's changes.
        rev: u64,
        /// What happened: `post`, `room-changed`, `member-set`, ...
        kind: String,
        /// The place in the timeline of the entry that it is, edits or redacts.
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// When it was recorded.
        #[schema(format = DateTime)]
        recorded: String,
        /// Who did it.
        actor: Author,
        /// The entry, if it is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<Box<Message>>,
        /// What changed, for everything else.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<serde_json::Value>,
    },
    /// Changes that cannot be sent.
    Gap {
        /// The room.
        room: String,
        /// The first missing change.
        from_rev: u64,
        /// The last missing change.
        to_rev: u64,
        /// Why.
        reason: GapReason,
    },
    /// Everything up to here has been sent; what follows is live.
    CaughtUp {
        /// The room.
        room: String,
        /// Its newest rev.
        rev: u64,
    },
    /// You may not read the room any more; nothing more of it follows.
    Removed {
        /// The room.
        room: String,
        /// Why.
        code: String,
    },
    /// The room was unsubscribed as asked.
    Unsubscribed {
        /// The room.
        room: String,
    },
    /// The answer to `ping`.
    Pong,
    /// A client's frame was refused; the connection goes on.
    Error {
        /// Why: a code of the problem table.
        code: String,
        /// In words.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// The room it was about.
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<String>,
    },
    /// The connection ends.
    Bye {
        /// Why.
        code: String,
    },
}

impl ServerFrame {
    /// The text.
    pub(crate) fn text(&self) -> Utf8Bytes {
        serde_json::to_string(self).unwrap_or_default().into()
    }

    /// A refusal of a client's frame.
    pub(crate) fn error(code: Code, detail: Option<String>, room: Option<String>) -> Self {
        Self::Error { code: code.as_str().to_owned(), detail, room }
    }
}

/// A change or a gap of a room, written once for all its readers.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The last rev it covers.
    pub(crate) rev: Rev,
    /// Set if the record may take rights away: they are checked again once it is applied.
    pub(crate) control: Option<Lsn>,
    /// The text.
    pub(crate) text: Utf8Bytes,
}

/// The frames of some changes in order of rev, gaps included.
pub(crate) fn of_changes(room: RoomId, changes: &Changes) -> Vec<Frame> {
    let name = room.to_string();
    let mut frames = Vec::with_capacity(changes.records.len() + changes.holes.len());
    for (from, to) in &changes.holes {
        frames.push(gap(room, *from, *to, GapReason::Damaged));
    }
    for (from, to) in &changes.expired {
        frames.push(gap(room, *from, *to, GapReason::Expired));
    }
    for record in &changes.records {
        let control = record.payload.kind().is_control().then_some(record.lsn);
        let change = Change::of(record, &changes.redacted);
        let Change { rev, kind, seq, recorded, actor, message, data } = change;
        let (room, message) = (name.clone(), message.map(Box::new));
        let frame = ServerFrame::Change { room, rev, kind, seq, recorded, actor, message, data };
        frames.push(Frame { rev: record.rev, control, text: frame.text() });
    }
    frames.sort_by_key(|frame| frame.rev);
    frames
}

/// The frame of changes that cannot be sent.
pub(crate) fn gap(room: RoomId, from: Rev, to: Rev, reason: GapReason) -> Frame {
    let frame = ServerFrame::Gap { room: room.to_string(), from_rev: from.0, to_rev: to.0, reason };
    Frame { rev: to, control: None, text: frame.text() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_frames_are_strict() {
        let parse = |text: &str| serde_json::from_str::<ClientFrame>(text);
        let subscribe = ClientFrame::Subscribe { room: "r1-9".into(), after: Some(4) };
        assert_eq!(parse(r#"{"type":"subscribe","room":"r1-9","after":4}"#).unwrap(), subscribe);
        let now = ClientFrame::Subscribe { room: "r1-9".into(), after: None };
        assert_eq!(parse(r#"{"type":"subscribe","room":"r1-9"}"#).unwrap(), now);
        assert_eq!(parse(r#"{"type":"subscribe","room":"r1-9","after":null}"#).unwrap(), now);
        assert_eq!(parse(r#"{"type":"ping"}"#).unwrap(), ClientFrame::Ping {});
        for wrong in [
            r#"{"type":"shout"}"#,
            r#"{"type":"ping","x":1}"#,
            r#"{"type":"subscribe","room":"r1-9","before":4}"#,
            r#"{"type":"subscribe","room":"r1-9","after":-1}"#,
            r#"{"room":"r1-9"}"#,
            "[]",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn server_frames_name_their_type() {
        let frame = ServerFrame::CaughtUp { room: "r1-9".into(), rev: 3 };
        assert_eq!(frame.text().as_str(), r#"{"type":"caught-up","room":"r1-9","rev":3}"#);
        assert_eq!(ServerFrame::Pong.text().as_str(), r#"{"type":"pong"}"#);
    }

    #[test]
    fn holes_stand_among_the_changes() {
        let changes = Changes {
            holes: vec![(Rev(3), Rev(4))],
            through: Rev(4),
            head: Rev(4),
            ..Changes::default()
        };
        let frames = of_changes(RoomId(1 << 50), &changes);
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].rev, Rev(4));
        assert!(frames[0].text.contains(r#""from_rev":3,"to_rev":4,"reason":"damaged""#));
    }
}
