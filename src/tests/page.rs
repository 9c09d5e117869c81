//! The page in a real browser, once through: sign-in, rooms, history, posting, the live stream,
//! and a server that is killed under it.
//!
//! It needs chromium and chromedriver and fails without them; `make deps` installs both.

mod support;

use std::time::Duration;

use serde_json::json;

use support::api::Api;
use support::browser::Browser;
use support::history::{forwards, number};
use support::{PASSWORD, Server, Site, data_folder, done};

const TIME: Duration = Duration::from_secs(50);
const ENTER: &str = "\u{e007}";
/// What stands in the place of the removed message.
const REMOVED: &str = "Removed by admin: a typo";
/// Names for what the tests ask of the page again and again.
const WORDS: &str = "
    window.log = document.getElementById('log');
    window.entries = () => [...log.querySelectorAll('.entry')];
    window.shown = (id) => document.getElementById(id).checkVisibility();
    window.said = (text) => entries().find((row) => row.querySelector('.what').innerText === text);
    window.word = (text) => said(text)?.querySelector('.state').innerText;
    window.inView = (row) => {
      const [a, b] = [row.getBoundingClientRect(), log.getBoundingClientRect()];
      return a.top >= b.top && a.bottom <= b.bottom;
    };
";

#[test]
fn the_page_in_a_browser() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let category = admin.category("Community");
    admin.patch(&format!("/categories/{category}"), &json!({ "edit": "authors" })).expect(200);
    let lobby = admin.room("lobby", &category, "open");
    let log = data_folder().join("2008-04-27.log");
    let mut import = server.command(&admin);
    import.args(["import", "irc-log", "--category", "Community", "--room", "ubuntu"]);
    done(import.args(["--date-of", "last"]).arg(&log));

    let browser = Browser::start(TIME);
    sign_in(&browser, &server);
    read_history(&browser, &admin);
    let keep_a_day = json!({ "retention_days": 1 });
    admin.patch(&format!("/categories/{category}"), &keep_a_day).expect(200);
    admin.post("/admin/expire", &json!({})).expect(200);
    // What expires while it is in view goes from there.
    browser.until(
        "!entries().length && /^The beginning.*\\s+Entries 1–\\d+ are expired.$/\
         .test(log.innerText)",
    );
    post_and_follow(&browser, &admin, &lobby);
    edit_and_remove(&browser, &admin, &lobby);
    lose_the_server(&browser, &site, server, &lobby);
    assert!(!site.log().contains("panicked"), "{}", site.log());
}

fn sign_in(browser: &Browser, server: &Server) {
    browser.open(&server.url);
    browser.run(WORDS);
    browser.until("shown('door')");
    browser.write("//input[@id='name']", "admin");
    browser.write("//input[@id='password']", "wrong");
    browser.click("//form[@id='sign-in']//button");
    browser.until("document.getElementById('door-error').innerText");
    browser.run("document.getElementById('password').value = ''");
    browser.write("//input[@id='password']", &format!("{PASSWORD}{ENTER}"));
    browser.until("shown('app') && !shown('door')");
    // The rooms are asked for behind the door.
    browser.until("document.querySelector('#rooms > *')");
    let texts = "return [...document.querySelectorAll('#rooms h3, #rooms button span')]
        .map((element) => element.textContent)";
    assert_eq!(browser.run(texts), json!(["Community", "lobby", "ubuntu"]));
    assert_eq!(browser.run("return document.getElementById('me').innerText"), "admin");
    assert_eq!(browser.run("return document.getElementById('password').value"), "");
}

/// Scrolls up, jumps to a date, and returns to the newest.
fn read_history(browser: &Browser, admin: &Api) {
    browser.click("//div[@id='rooms']//button[span='ubuntu']");
    browser.until("entries().length === 50 && log.scrollTop > 500");
    browser.run(
        "log.scrollTop = 300;
         window.kept = entries().find(inView);
         window.place = kept.getBoundingClientRect().top;",
    );
    browser.until("entries().length === 150");
    let moved = browser.run("return Math.abs(kept.getBoundingClientRect().top - place)");
    assert!(moved.as_f64().is_some_and(|pixels| pixels < 2.0), "the place was lost: {moved}");
    let dense = "entries().every((row, at, all) => !at || row.seq === all[at - 1].seq + 1)";
    browser.until(dense);

    let rooms = admin.get("/rooms").expect(200);
    let mut rooms = rooms["rooms"].as_array().expect("rooms").iter();
    let room = rooms.find(|room| room["name"] == "ubuntu").expect("the imported room");
    let room = room["id"].as_str().expect("an id");
    let path = format!("/rooms/{room}/messages?at=2008-04-27T06:00:00Z&limit=1");
    let first = number(&admin.get(&path).expect(200)["messages"][0], "seq");
    browser.run("document.getElementById('when').value = '2008-04-27T06:00:00'");
    browser.click("//form[@id='jump']/button[.='Go']");
    browser.until("document.querySelector('.found')");
    assert_eq!(browser.run("return document.querySelector('.found').seq"), first);
    browser.until("inView(document.querySelector('.found'))");
    browser.until(dense);

    let last = forwards(admin, room, 0).len();
    browser.click("//button[@id='latest']");
    browser.until(&format!("entries().at(-1)?.seq === {last} && inView(entries().at(-1))"));
}

fn post_and_follow(browser: &Browser, admin: &Api, lobby: &str) {
    let path = format!("/rooms/{lobby}/messages");
    browser.click("//div[@id='rooms']//button[span='lobby']");
    browser.until("document.querySelector('#log .end')");
    browser.write("//textarea[@id='text']", &format!("héllo <b>{ENTER}"));
    browser.until("word('héllo <b>') === 'kept ✓'");
    let kept = forwards(admin, lobby, 0);
    assert_eq!((kept.len(), &kept[0]["body"]), (1, &json!("héllo <b>")));

    let (id, other) = admin.user("other");
    admin.join(lobby, &id);
    other.post(&path, &json!({ "body": "live" })).expect(201);
    browser.until("said('live')");
    assert_eq!(browser.run("return said('live').querySelector('.who').innerText"), "other");
}

/// What was said is changed and taken away, here and by somebody else.
fn edit_and_remove(browser: &Browser, admin: &Api, lobby: &str) {
    let act = |text: &str, word: &str| {
        let row = format!("//article[span[@class='what'][.='{text}']]");
        browser.run(&format!("said('{text}').querySelector('.acts button').focus()"));
        browser.click(&format!("{row}//button[.='{word}']"));
    };
    browser.write("//textarea[@id='text']", &format!("a slpi{ENTER}"));
    browser.until("word('a slpi') === 'kept ✓'");
    act("a slpi", "Edit");
    browser.until("document.getElementById('ask').open");
    assert_eq!(browser.run("return document.getElementById('ask-text').value"), "a slpi");
    browser.run("document.getElementById('ask-text').value = ''");
    browser.write("//textarea[@id='ask-text']", "a slip");
    browser.click("//dialog[@id='ask']//button[@value='do']");
    browser.until("said('a slip') && !document.getElementById('ask').open");
    act("a slip", "edited");
    browser.until("document.querySelectorAll('#versions-list p').length === 2");
    let said = "return [...document.querySelectorAll('#versions-list p')].map((p) => p.innerText)";
    assert_eq!(browser.run(said), json!(["a slpi", "a slip"]));
    browser.click("//dialog[@id='versions']//button[.='Close']");
    // By another way in: the stream brings it.
    let slip = forwards(admin, lobby, 0).pop().expect("the message");
    let path = format!("/rooms/{lobby}/messages/{}", slip["id"].as_str().expect("an id"));
    admin.patch(&path, &json!({ "body": "a slip, again" })).expect(200);
    browser.until("said('a slip, again')");
    act("a slip, again", "Remove");
    browser.until("document.getElementById('ask').open");
    browser.write("//textarea[@id='ask-text']", "a typo");
    browser.click("//dialog[@id='ask']//button[@value='do']");
    browser.until(&format!("said('{REMOVED}')"));
    assert!(!browser.run("return log.innerHTML").to_string().contains("a slip"));
    let slip = forwards(admin, lobby, 0).pop().expect("its place");
    assert_eq!((&slip["body"], &slip["redacted"]["reason"]), (&json!(""), &json!("a typo")));
    // Erased it is not even that any more.
    let erased = json!({ "messages": [slip["id"]], "reason": "asked to" });
    admin.post(&format!("/rooms/{lobby}/erasures"), &erased).expect(200);
    let gap = format!("Entries {0}–{0} are erased.", slip["seq"]);
    browser.until(&format!("!said('{REMOVED}') && log.innerText.includes('{gap}')"));
}

/// The server is killed; the page says so, keeps what was not sent, and catches up.
fn lose_the_server(browser: &Browser, site: &Site, server: Server, lobby: &str) {
    let address = server.url.strip_prefix("http://").expect("an address").to_owned();
    browser.until("!shown('banner')");
    server.kill();
    browser.until(
        "shown('banner') && /not connected/i.test(document.getElementById('banner').innerText)",
    );
    browser.write("//textarea[@id='text']", &format!("unsent{ENTER}"));
    browser.until("/not kept/.test(word('unsent'))");

    let server = site.serve_with_address(&address);
    let admin = server.admin();
    let path = format!("/rooms/{lobby}/messages");
    for n in 0..3 {
        admin.post(&path, &json!({ "body": format!("missed {n}") })).expect(201);
    }
    browser.until("!shown('banner') && said('missed 2')");
    browser.click("//button[contains(., 'try again')]");
    browser.until("word('unsent') === 'kept ✓'");
    let bodies = "return entries().map((row) => row.querySelector('.what').innerText)";
    let expected = ["héllo <b>", "live", "missed 0", "missed 1", "missed 2", "unsent"];
    assert_eq!(browser.run(bodies), json!(expected));
    // Behind the place of what was erased, where the API tells of a gap.
    let kept = forwards(&admin, lobby, 3);
    assert!(kept.iter().map(|message| &message["body"]).eq(&expected[2..]));
    assert_eq!(server.stop().code(), Some(0));
}
