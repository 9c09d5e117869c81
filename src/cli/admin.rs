//! The command line of `hansard admin NOUN VERB`.
//!
//! Whoever is named is named by name or by id. Tables are for people; `--json` is for programs.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ServerArgs;

/// `hansard admin`.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// Print JSON instead of words and tables.
    #[arg(long, global = true)]
    pub json: bool,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// What it is about.
    #[command(subcommand)]
    pub noun: Noun,
}

/// What can be administered.
#[derive(Debug, Subcommand)]
pub enum Noun {
    /// Sessions: signing in.
    #[command(subcommand)]
    Session(SessionVerb),
    /// Users.
    #[command(subcommand)]
    User(UserVerb),
    /// Categories.
    #[command(subcommand)]
    Category(CategoryVerb),
    /// Rooms.
    #[command(subcommand)]
    Room(RoomVerb),
    /// Members of rooms.
    #[command(subcommand)]
    Member(MemberVerb),
    /// Tokens for programs.
    #[command(subcommand)]
    Token(TokenVerb),
    /// Compliance events.
    #[command(subcommand)]
    Event(EventVerb),
    /// The server's clock.
    #[command(subcommand)]
    Clock(ClockVerb),
    /// Legal holds: what they keep, retention does not take.
    #[command(subcommand)]
    Hold(HoldVerb),
    /// Erase messages, with every version of them, from every file; it cannot be taken back.
    Erase(EraseArgs),
    /// Retention: what is older than its category keeps.
    #[command(subcommand)]
    Retention(RetentionVerb),
    /// The compliance record: for how long its events are kept.
    #[command(subcommand)]
    Compliance(ComplianceVerb),
    /// Signed heads: what holds everybody to the record, once it is kept elsewhere.
    #[command(subcommand)]
    Head(HeadVerb),
    /// The pass over all packs that looks for damage.
    #[command(subcommand)]
    Scrub(ScrubVerb),
    /// Make a consistent copy of the data directory, by hard links, while the server runs.
    Checkpoint {
        /// A folder that does not exist, on the server and on the data directory's disk.
        dir: PathBuf,
    },
}

/// Legal holds.
#[derive(Debug, Subcommand)]
pub enum HoldVerb {
    /// Place a hold on the entries to which all applies that is given; on everything without it.
    Create {
        /// What it is called.
        name: String,
        /// Why, in words.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Entries of this room only: its name or id.
        #[arg(long)]
        room: Option<String>,
        /// Entries of rooms in this category only: its name or id.
        #[arg(long)]
        category: Option<String>,
        /// Entries of this author only: his name or id.
        #[arg(long, value_name = "USER")]
        principal: Option<String>,
        /// Entries said at this time (RFC 3339) or later only.
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Entries said before this time only.
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
    },
    /// List holds.
    List,
    /// Release a hold.
    Release {
        /// Its id.
        id: String,
    },
}

/// What is to be erased.
#[derive(Debug, clap::Args)]
pub struct EraseArgs {
    /// The room: its name or id.
    #[arg(long)]
    pub room: String,
    /// Why, in words, for the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Messages, by their ids.
    #[arg(required = true, value_name = "MESSAGE")]
    pub messages: Vec<String>,
}

/// Retention.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum RetentionVerb {
    /// Take now what is due, and say how much it was.
    Run {
        /// Take it out of every pack as well, which by and by happens by itself.
        #[arg(long)]
        purge: bool,
    },
}

/// The compliance record.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ComplianceVerb {
    /// Show whether it is on, and for how long events are kept.
    Show,
    /// Change for how long events are kept, or whether they may be erased.
    Set {
        /// Days; 0 for ever.
        #[arg(long)]
        days: Option<u32>,
        /// Whether nothing of it is erased before its time.
        #[arg(long, value_name = "BOOL")]
        locked: Option<bool>,
    },
}

/// Signed heads.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum HeadVerb {
    /// Print the newest signed head: a note to keep on another machine.
    Show,
    /// Sign what is new now, and print the head.
    Sign,
    /// Print the public keys that heads were signed with, the oldest first.
    Keys,
    /// Make a new key, endorsed by the one in use, and sign with it from now on.
    Rotate,
}

/// Sessions.
#[derive(Debug, Subcommand)]
pub enum SessionVerb {
    /// Sign in and print the token.
    Create {
        /// The user's name.
        #[arg(long)]
        name: String,
        /// A file with the password.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
}

/// Users.
#[derive(Debug, Subcommand)]
pub enum UserVerb {
    /// Make a user.
    Create {
        /// His name.
        name: String,
        /// A file with his password; without one he cannot sign in by password.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// List users.
    List {
        /// The authors known from imported history instead.
        #[arg(long)]
        imported: bool,
    },
    /// Take everything a user may do.
    Disable {
        /// His name or id.
        user: String,
    },
    /// Give it back.
    Enable {
        /// His name or id.
        user: String,
    },
    /// Set a new password; his other sessions end.
    ResetPassword {
        /// His name or id.
        user: String,
        /// A file with the new password.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
        /// A file with the password of now: needed for one's own.
        #[arg(long, value_name = "FILE")]
        old_password_file: Option<PathBuf>,
    },
    /// Make a user an administrator.
    Promote {
        /// His name or id.
        user: String,
    },
    /// Make an administrator a user.
    Demote {
        /// His name or id.
        user: String,
    },
}

/// How much of a room's history is kept: what passes any of these goes, the oldest first.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct RetentionOptions {
    /// Days that entries are kept; 0 is for ever.
    #[arg(long, value_name = "DAYS")]
    pub retention_days: Option<u32>,
    /// Entries that are kept, the newest; 0 is all.
    #[arg(long, value_name = "ENTRIES")]
    pub retention_entries: Option<u64>,
    /// Bytes that the entries may take in packs; 0 is any number.
    #[arg(long, value_name = "BYTES")]
    pub retention_bytes: Option<u64>,
}

/// What can be said of a category.
#[derive(Debug, Default, Args)]
pub struct CategoryOptions {
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// In scope: a user, or "everyone". May be repeated; all of them together replace the list.
    #[arg(long, value_name = "USER")]
    pub allow: Vec<String>,
    /// Out of scope whatever else is said. May be repeated; likewise.
    #[arg(long, value_name = "USER")]
    pub deny: Vec<String>,
    /// May create rooms. May be repeated; likewise.
    #[arg(long, value_name = "USER")]
    pub creator: Vec<String>,
    /// Whether users see history.
    #[arg(long, value_name = "true|false")]
    pub history: Option<bool>,
    /// How much is kept of each of its rooms.
    #[command(flatten)]
    pub retention: RetentionOptions,
    /// Who may edit messages.
    #[arg(long, value_name = "WHO")]
    pub edit: Option<Amenders>,
    /// Who may redact messages.
    #[arg(long, value_name = "WHO")]
    pub redact: Option<Amenders>,
}

/// Who may change messages; administrators may what managers may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Amenders {
    /// Nobody.
    Nobody,
    /// Managers of the room.
    Managers,
    /// Also the author of the message.
    Authors,
}

impl Amenders {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Managers => "managers",
            Self::Authors => "authors",
        }
    }
}

/// Categories.
#[derive(Debug, Subcommand)]
pub enum CategoryVerb {
    /// Make a category.
    Create {
        /// Its name.
        name: String,
        /// What it is.
        #[command(flatten)]
        options: CategoryOptions,
    },
    /// List categories.
    List,
    /// Change a category: what is given changes.
    Change {
        /// Its name or id.
        category: String,
        /// Its new name.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// What it is from now on.
        #[command(flatten)]
        options: CategoryOptions,
    },
    /// Delete a category that has no rooms.
    Delete {
        /// Its name or id.
        category: String,
    },
}

/// Who posts in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoomKind {
    /// Every member.
    Normal,
    /// Presenters.
    Auditorium,
}

/// Who finds and joins a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoomPrivacy {
    /// Anyone in the category's scope.
    Open,
    /// Found by anyone in scope, used by members.
    Closed,
    /// Members only.
    Secret,
}

/// What can be said of a room.
#[derive(Debug, Default, Args)]
pub struct RoomOptions {
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// What it is about now.
    #[arg(long, value_name = "TEXT")]
    pub topic: Option<String>,
    /// Who posts.
    #[arg(long, value_name = "TYPE")]
    pub r#type: Option<RoomKind>,
    /// Who finds and joins it.
    #[arg(long, value_name = "PRIVACY")]
    pub privacy: Option<RoomPrivacy>,
    /// How much of it is kept, whatever its category says; what is not given bounds nothing.
    #[command(flatten)]
    pub retention: RetentionOptions,
    /// Keep as much of it as its category says.
    #[arg(long, conflicts_with_all = ["retention_days", "retention_entries", "retention_bytes"])]
    pub retention_of_category: bool,
}

/// Rooms.
#[derive(Debug, Subcommand)]
pub enum RoomVerb {
    /// Make a room.
    Create {
        /// Its name.
        name: String,
        /// Its category, by name or id.
        #[arg(long, value_name = "CATEGORY")]
        category: String,
        /// The room whose history stands before this one's, by name or id.
        #[arg(long, value_name = "ROOM")]
        continues: Option<String>,
        /// What it is.
        #[command(flatten)]
        options: RoomOptions,
    },
    /// List rooms.
    List {
        /// Of this category only, by name or id.
        #[arg(long, value_name = "CATEGORY")]
        category: Option<String>,
    },
    /// Show a room.
    Show {
        /// Its name or id.
        room: String,
    },
    /// Change a room: what is given changes.
    Change {
        /// Its name or id.
        room: String,
        /// Its new name.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Its new category, by name or id.
        #[arg(long, value_name = "CATEGORY")]
        category: Option<String>,
        /// Hide it and keep everything.
        #[arg(long, value_name = "true|false")]
        disabled: Option<bool>,
        /// What it is from now on.
        #[command(flatten)]
        options: RoomOptions,
    },
    /// Delete a room: it is hidden for ever, and its name is never used again.
    Delete {
        /// Its name or id.
        room: String,
    },
}

/// What a member is besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Changes the room and its members.
    Manager,
    /// Posts in an auditorium.
    Presenter,
}

/// Members.
#[derive(Debug, Subcommand)]
pub enum MemberVerb {
    /// Make a user a member, or change what he is there.
    Add {
        /// The room, by name or id.
        room: String,
        /// The user, by name or id.
        user: String,
        /// What he is besides. May be repeated.
        #[arg(long, value_name = "ROLE")]
        role: Vec<Role>,
    },
    /// End a membership.
    Remove {
        /// The room, by name or id.
        room: String,
        /// The user, by name or id.
        user: String,
    },
    /// List members.
    List {
        /// The room, by name or id.
        room: String,
    },
}

/// Tokens.
#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Make a token and print it: the only time that it is shown.
    Create {
        /// What it is called.
        name: String,
        /// Whose it is, by name or id [default: yours].
        #[arg(long, value_name = "USER")]
        principal: Option<String>,
        /// When it stops working [default: a year from now].
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// List tokens and sessions that work.
    List {
        /// Whose, by name or id [default: yours].
        #[arg(long, value_name = "USER")]
        principal: Option<String>,
    },
    /// End a token.
    Revoke {
        /// Its id.
        id: String,
    },
}

/// Events.
#[derive(Debug, Subcommand)]
pub enum EventVerb {
    /// List compliance events in the order of the log.
    List {
        /// Where the last list ended.
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// At most so many [default: all].
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
}

/// The clock.
#[derive(Debug, Subcommand)]
pub enum ClockVerb {
    /// Agree with a clock that is far ahead of the record.
    Accept,
}

/// The scrub.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ScrubVerb {
    /// How it stands and what it found.
    Show,
    /// Ask for a pass now.
    Run,
}
