//! One stream connection: reads the client's frames and writes rooms' changes by its own cursors.
//!
//! The task waits for whichever comes first: a frame, work from the outbox, a ping. It holds no
//! message longer than it takes to write one batch. INVARIANT: a change that may take rights away
//! is waited for and the rights are checked again before it, or anything behind it, is sent.

use std::future::poll_fn;
use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::{SinkExt, StreamExt};
use hansard_engine::types::{Rev, RoomId};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::access::Access;
use crate::auth::{Caller, Via, authenticate};
use crate::frames::{self, ClientFrame, Frame, ServerFrame};
use crate::http::view::GapReason;
use crate::limits::{HELLO_WAIT, PING_EVERY, PONG_WAIT, STREAM_BATCH, WRITE_WAIT};
use crate::metrics::now;
use crate::outbox::{Outbox, Work};
use crate::problem::{Code, Problem};
use crate::secrets;
use crate::state::App;
use crate::submit::audit_administrator;
use crate::time;

/// A blocked write that got through is a sign of life.
const BLOCKED: std::time::Duration = std::time::Duration::from_secs(1);
const NORMAL: u16 = 1000;
const AWAY: u16 = 1001;
const POLICY: u16 = 1008;

/// Why a connection ends. The socket is gone in the first case.
enum End {
    Gone,
    Bye(&'static str, u16),
}

type Flow = Result<(), End>;

/// Frames, the last rev they cover, and the room's newest rev.
type News = Result<(Vec<Frame>, Rev, Rev), Problem>;

struct Session {
    app: App,
    socket: WebSocket,
    caller: Caller,
    outbox: Arc<Outbox>,
    seen: Instant,
}

/// Serves a connection to its end.
pub(crate) async fn run(app: App, mut socket: WebSocket, caller: Option<Caller>, address: String) {
    let caller = match caller {
        Some(caller) => caller,
        None => match hello(&app, &mut socket, address).await {
            Ok(caller) => caller,
            Err(problem) => {
                let code = problem.code.as_str();
                let frame = ServerFrame::error(problem.code, problem.detail, None);
                let _ = timeout(HELLO_WAIT, socket.send(Message::Text(frame.text()))).await;
                let _ = timeout(HELLO_WAIT, socket.send(close(POLICY, code))).await;
                return;
            }
        },
    };
    let outbox = app.hub.connect(caller.principal.id, caller.token.id);
    let mut session =
        Session { app: app.clone(), socket, caller, outbox: Arc::clone(&outbox), seen: now() };
    let end = session.serve().await;
    app.hub.disconnect(&outbox);
    if let Err(End::Bye(code, status)) = end {
        if code == "slow-reader" {
            app.metrics.slow_readers.add(1);
        }
        session.say_bye(code, status).await;
    }
}

/// The first frame of a connection without a credential.
async fn hello(app: &App, socket: &mut WebSocket, address: String) -> Result<Caller, Problem> {
    let refused = || Problem::with(Code::Unauthenticated, "the first frame must be a hello");
    let first = timeout(HELLO_WAIT, socket.recv()).await;
    let Ok(Some(Ok(Message::Text(text)))) = first else { return Err(refused()) };
    match serde_json::from_str(text.as_str()) {
        Ok(ClientFrame::Hello { token }) => authenticate(app, &token, Via::Bearer, address),
        _ => Err(refused()),
    }
}

fn close(code: u16, reason: &'static str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}

impl Session {
    async fn serve(&mut self) -> Flow {
        // The credential may have been revoked between the check and the registration.
        if self.caller.renew(&self.app, &self.app.directory()).is_err() {
            return Err(End::Bye("signed-out", POLICY));
        }
        let hello = ServerFrame::Hello {
            session: secrets::connection_name().unwrap_or_default(),
            time: time::show(self.app.engine.now()),
            epoch: self.app.engine.epoch().0,
            principal: self.caller.principal.id.to_string(),
        };
        self.say(hello).await?;
        if *self.app.stopping.borrow() {
            return Err(End::Bye("stopping", AWAY));
        }
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        let outbox = Arc::clone(&self.outbox);
        loop {
            tokio::select! {
                frame = self.socket.next() => match frame {
                    Some(Ok(frame)) => self.take(frame).await?,
                    Some(Err(_)) | None => return Err(End::Gone),
                },
                work = outbox.next() => self.work(work).await?,
                _ = ping.tick() => self.tick().await?,
            }
        }
    }

    async fn tick(&mut self) -> Flow {
        if self.seen.elapsed() > PONG_WAIT {
            return Err(End::Bye("silent", POLICY));
        }
        if self.caller.token.expires <= self.app.engine.now() {
            return Err(End::Bye("signed-out", POLICY));
        }
        self.send(Message::Ping(bytes::Bytes::new())).await
    }

    async fn take(&mut self, frame: Message) -> Flow {
        self.seen = now();
        match frame {
            Message::Text(text) => self.obey(&text).await,
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Binary(_) => Err(End::Bye("bad-stream", POLICY)),
            Message::Close(_) => Err(End::Gone),
        }
    }

    async fn obey(&mut self, text: &Utf8Bytes) -> Flow {
        match serde_json::from_str::<ClientFrame>(text.as_str()) {
            Ok(ClientFrame::Subscribe { room, after }) => match room.parse() {
                Ok(id) => self.subscribe(id, after.map(Rev)).await,
                Err(_) => self.refuse(Problem::not_found(), Some(room)).await,
            },
            Ok(ClientFrame::Unsubscribe { room }) => {
                let there = room.parse().is_ok_and(|id| self.app.hub.unsubscribe(&self.outbox, id));
                match there {
                    true => self.say(ServerFrame::Unsubscribed { room }).await,
                    false => self.refuse(Problem::not_found(), Some(room)).await,
                }
            }
            Ok(ClientFrame::Ping {}) => self.say(ServerFrame::Pong).await,
            Ok(ClientFrame::Hello { .. }) => {
                let problem = Problem::with(Code::BadStream, "this connection is signed in");
                self.refuse(problem, None).await
            }
            Err(error) => {
                self.refuse(Problem::with(Code::BadStream, error.to_string()), None).await
            }
        }
    }

    async fn subscribe(&mut self, room: RoomId, after: Option<Rev>) -> Flow {
        match self.admit(room, after).await {
            Ok(frames) => {
                for frame in frames {
                    self.say(frame).await?;
                }
                // Looks once even if nothing happens: says what was missed, and `caught-up`.
                self.outbox.mark(room);
                Ok(())
            }
            Err(problem) => self.refuse(problem, Some(room.to_string())).await,
        }
    }

    /// Checks, registers, and checks again: whoever takes the right away in between either finds
    /// the registration or is found by the second check.
    async fn admit(
        &mut self,
        room: RoomId,
        after: Option<Rev>,
    ) -> Result<Vec<ServerFrame>, Problem> {
        let seen = self.rights(room)?;
        if seen.grant.as_administrator {
            audit_administrator(&self.app, &self.caller, room, "stream").await?;
        }
        let head = self.app.engine.head(room)?.rev;
        let asked = after.unwrap_or(head);
        if asked > head {
            let words = "after lies beyond the room's newest change";
            return Err(Problem::with(Code::BadStream, words));
        }
        let kept = seen.category.settings.history;
        let start = if kept { asked } else { head };
        if !self.app.hub.subscribe(&self.outbox, room, start, head) {
            return Err(Problem::new(Code::TooManySubscriptions));
        }
        if let Err(problem) = self.rights(room) {
            self.app.hub.unsubscribe(&self.outbox, room);
            return Err(problem);
        }
        let name = room.to_string();
        let mut frames =
            vec![ServerFrame::Subscribed { room: name.clone(), after: start.0, head: head.0 }];
        if asked < start {
            let (from_rev, to_rev) = (asked.next().0, start.0);
            let reason = GapReason::NotKept;
            frames.push(ServerFrame::Gap { room: name, from_rev, to_rev, reason });
        }
        Ok(frames)
    }

    fn rights(&self, room: RoomId) -> Result<crate::access::Seen, Problem> {
        let directory = self.app.directory();
        let who = self.caller.renew(&self.app, &directory)?;
        Ok(Access::begin(&directory, &who).may_read_room(room)?)
    }

    async fn work(&mut self, work: Work) -> Flow {
        match work {
            Work::Close(code) => {
                let status = if code == "stopping" { AWAY } else { POLICY };
                Err(End::Bye(code, status))
            }
            Work::Removed(room, code) => {
                let frame = ServerFrame::Removed { room: room.to_string(), code: code.to_owned() };
                self.say(frame).await
            }
            Work::Look { room, after, generation, caught_up } => {
                let (frames, through, head) = match Self::news(&self.app, room, after).await {
                    Ok(news) => news,
                    Err(problem) => {
                        self.app.hub.unsubscribe(&self.outbox, room);
                        return self.refuse(problem, Some(room.to_string())).await;
                    }
                };
                for frame in frames {
                    self.deliver(room, generation, frame).await?;
                }
                self.flush().await?;
                // Also where nothing was sent: the next look begins behind what was covered.
                self.outbox.hand_over(room, generation, through, || ());
                // What stood ready may end before what was answered before this stream subscribed.
                if through < head || self.outbox.is_behind(room, generation) {
                    self.outbox.mark(room);
                } else if !caught_up && self.outbox.catch_up(room, generation) {
                    let frame = ServerFrame::CaughtUp { room: room.to_string(), rev: through.0 };
                    self.say(frame).await?;
                }
                Ok(())
            }
        }
    }

    /// What follows a rev: from the hub if it is ready there, else from the engine.
    async fn news(app: &App, room: RoomId, after: Rev) -> News {
        if let Some((frames, through)) = app.hub.ready(room, after) {
            return Ok((frames, through, through));
        }
        app.metrics.session_reads.add(1);
        let changes = app.read(move |engine| engine.changes(room, after, STREAM_BATCH)).await??;
        Ok((frames::of_changes(room, &changes), changes.through, changes.head))
    }

    async fn deliver(&mut self, room: RoomId, generation: u64, frame: Frame) -> Flow {
        if let Some(lsn) = frame.control {
            self.app.directory().wait_applied(lsn).await;
            if self.rights(room).is_err() {
                self.app.hub.take_away(&self.outbox, room, "no-rights");
                return Ok(());
            }
        }
        self.ready().await?;
        let socket = &mut self.socket;
        let sent = self.outbox.hand_over(room, generation, frame.rev, || {
            socket.start_send_unpin(Message::Text(frame.text))
        });
        match sent {
            Some(Ok(())) => self.app.metrics.deliveries.add(1),
            Some(Err(_)) => return Err(End::Gone),
            None => {}
        }
        Ok(())
    }

    async fn refuse(&mut self, problem: Problem, room: Option<String>) -> Flow {
        self.say(ServerFrame::error(problem.code, problem.detail, room)).await
    }

    async fn say(&mut self, frame: ServerFrame) -> Flow {
        self.send(Message::Text(frame.text())).await
    }

    async fn send(&mut self, message: Message) -> Flow {
        self.ready().await?;
        self.socket.start_send_unpin(message).map_err(|_| End::Gone)?;
        self.flush().await
    }

    /// Waits until the socket takes a frame.
    async fn ready(&mut self) -> Flow {
        let began = now();
        let socket = &mut self.socket;
        let ready = timeout(WRITE_WAIT, poll_fn(|cx| socket.poll_ready_unpin(cx))).await;
        self.written(began, ready)
    }

    async fn flush(&mut self) -> Flow {
        let began = now();
        let flushed = timeout(WRITE_WAIT, self.socket.flush()).await;
        self.written(began, flushed)
    }

    fn written<E>(
        &mut self,
        began: Instant,
        result: Result<Result<(), E>, tokio::time::error::Elapsed>,
    ) -> Flow {
        match result {
            Ok(Ok(())) => {
                if began.elapsed() >= BLOCKED {
                    self.seen = now();
                }
                Ok(())
            }
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Bye("slow-reader", POLICY)),
        }
    }

    /// The last words, if the socket still takes them.
    async fn say_bye(&mut self, code: &'static str, status: u16) {
        let bye = ServerFrame::Bye { code: code.to_owned() };
        let words = async {
            self.socket.send(Message::Text(bye.text())).await?;
            self.socket.send(close(status.max(NORMAL), code)).await
        };
        let _ = timeout(std::time::Duration::from_secs(2), words).await;
    }
}
