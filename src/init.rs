//! `hansard init` and `hansard accept-damage`: what is done to a data directory that no server has.
//!
//! Both end with somebody who can sign in. INVARIANT: neither starts a door.

use std::io::{Write, stdout};
use std::path::Path;

use hansard_engine::Engine;
use hansard_server::{PasswordCost, SignInLink, initialise, sign_in_link};

use crate::cli::{DataArgs, InitArgs};
use crate::config::{self, Config};
use crate::data::{first_administrator, is_new, open_or_create, tell_link};
use crate::exits::{Exit, Failure};
use crate::files::{self, Place};
use crate::logging;

/// Makes a data directory with an administrator.
pub fn run(args: &InitArgs) -> Result<(), Failure> {
    let config = configured(args.config.as_deref())?;
    let password = args.password_file.as_deref().map(files::read_secret).transpose()?;
    let existed = files::look_at(&args.data)? == Place::Taken;
    let (engine, _) = open_or_create(&args.data, config.engine().quiet())?;
    let cost = config.server().password_cost;
    let made = make(&engine, args, password.as_deref().map(|password| (password, cost)));
    engine.close()?;
    let link = made.map_err(|failure| match existed {
        true => failure,
        // The directory is there, but empty of people: `init` can be run again.
        false => Failure::new(failure.exit, format!("{failure}; run init again")),
    })?;
    say(&format!("data directory made path={:?} administrator={:?}", args.data, args.admin))?;
    match link {
        Some(link) => tell_link(&args.data, config.http.listen, &link),
        None => Ok(()),
    }
}

fn make(
    engine: &Engine,
    args: &InitArgs,
    password: Option<(&str, PasswordCost)>,
) -> Result<Option<SignInLink>, Failure> {
    if !is_new(engine)? {
        let words = format!("data directory has an administrator already path={:?}", args.data);
        return Err(Failure::new(Exit::CannotCreate, words));
    }
    Ok(initialise(engine, &args.admin, password)?)
}

/// Lists what was lost, accepts it, and signs everybody out.
pub fn accept_damage(args: &DataArgs) -> Result<(), Failure> {
    let config = configured(args.config.as_deref())?;
    let loss = hansard_engine::accept_damage(&args.data, config.engine().quiet())?;
    for hole in &loss.holes {
        say(&format!("lost records from={} to={}", hole.first, hole.last))?;
    }
    say(&format!("accepted holes={} epoch={}", loss.holes.len(), loss.epoch))?;
    let (engine, _) = Engine::open(&args.data, config.engine().quiet())?;
    let link = match first_administrator(&engine)? {
        Some(admin) => Ok(sign_in_link(&engine, admin.id)?),
        None => Err(Failure::new(Exit::Data, "no administrator is left in the record")),
    };
    engine.close()?;
    tell_link(&args.data, config.http.listen, &link?)
}

fn configured(file: Option<&Path>) -> Result<Config, Failure> {
    let config = config::load(file, &[])?;
    logging::begin(config.log.format, config.log.level);
    Ok(config)
}

fn say(text: &str) -> Result<(), Failure> {
    writeln!(stdout(), "{text}").map_err(|error| Failure::stdout(&error))
}
