//! A server of its own for each test: memory for a disk, a port of the system's choice.
//!
//! It signs in the first administrator by his link, as an operator would.

use std::net::SocketAddr;
use std::sync::Arc;

use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::open::{Drive, Ground, Losses, lay_out, open_on};
use hansard_engine::storage::Disk;
use hansard_engine::storage::clock::SystemClock;
use hansard_engine::storage::sim::SimStorage;
use hansard_engine::{Engine, Options};
use hansard_server::{PasswordCost, ServerConfig, bind, initialise, serve_on};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::client::Client;

/// A running server.
pub struct World {
    pub address: SocketAddr,
    pub engine: Engine,
    pub root: Client,
    pub link: String,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl World {
    pub async fn start() -> Self {
        let disk = Disk::new(Arc::new(SimStorage::new()));
        lay_out(&disk).expect("an empty disk");
        let store = Arc::new(MemoryCatalog::default());
        let ground = Ground { disk, store, clock: Arc::new(SystemClock) };
        let options = Options {
            journal_file_bytes: 4 * 1024 * 1024,
            journal_bytes_max: 64 * 1024 * 1024,
            disk_reserve_bytes: 0,
            ..Options::default()
        };
        let (engine, _) =
            open_on(ground, options, Drive::Threads, Losses::Restrict).expect("a new engine");
        let link = initialise(&engine, "root", None).expect("first records").expect("a link");
        let config = ServerConfig {
            http: ([127, 0, 0, 1], 0).into(),
            password_cost: PasswordCost { memory_kib: 64, passes: 1, lanes: 1 },
            ..ServerConfig::default()
        };
        let listener = bind(&config).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let served = engine.clone();
        let task = tokio::spawn(async move {
            serve_on(listener, served, config, stopped.notified()).await.expect("a good end");
        });
        let guest = Client::new(address, None);
        let session = guest.post("/sessions", json!({ "link": link.secret })).await.is(201);
        let root = Client::new(address, Some(text(&session["token"])));
        Self { address, engine, root, link: link.secret, stop, task }
    }

    /// A client without a credential.
    pub fn guest(&self) -> Client {
        Client::new(self.address, None)
    }

    /// A new user, signed in with a password.
    pub async fn user(&self, name: &str) -> Client {
        let body = json!({ "name": name, "password": "correct horse" });
        self.root.post("/users", body.clone()).await.is(201);
        let session = self.guest().post("/sessions", body).await.is(201);
        Client::new(self.address, Some(text(&session["token"])))
    }

    /// A category of this scope, by its id.
    pub async fn category(&self, name: &str, more: Value) -> String {
        let mut body = json!({ "name": name });
        merge(&mut body, more);
        text(&self.root.post("/categories", body).await.is(201)["id"])
    }

    /// A room, by its id.
    pub async fn room(&self, name: &str, category: &str, more: Value) -> String {
        let mut body = json!({ "name": name, "category": category });
        merge(&mut body, more);
        text(&self.root.post("/rooms", body).await.is(201)["id"])
    }

    /// An open room in a category for everyone.
    pub async fn open_room(&self) -> String {
        let category = self.category("community", json!({})).await;
        self.room("lobby", &category, json!({ "privacy": "open" })).await
    }

    pub async fn stop(self) {
        self.stop.notify_one();
        self.task.await.expect("the server's task");
        self.engine.close().expect("a clean close");
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn merge(body: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!("an object") };
    for (key, value) in more {
        body[key] = value;
    }
}
