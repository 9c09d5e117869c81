//! The trial of scale: `make scale`, or `make scale ARGS='--rooms 10000 --messages-in-big 100000'`.
//!
//! This is its command line; `scale` in the library is the rest. It exits with 1 if a message was
//! wrong or missing or the offline tool found damage, and never for a time that something took.

use std::path::{Path, PathBuf};

use hansard_benches::scale::course::{Plan, run};
use hansard_benches::scale::phase::{self, Task};
use hansard_benches::scale::table;
use hansard_benches::scale::world::Size;
use hansard_benches::tournament::Outcome;

const USAGE: &str = "\
usage: scale [--rooms N] [--messages-in-big N] [--data DIR] [--logs DIR] [--seed N]
             [--rooms-at-once N] [--programs DIR] [--keep] [--json]
  --rooms N            rooms of three messages (default 1000000)
  --messages-in-big N  messages of the one big room (default 10000000)
  --data DIR           the data directory; absent, removed at the end (default: in the temporary
                       folder)
  --logs DIR           the folder of the logs whose lines are posted (default: the six of the tests)
  --seed N             which lines, and which pages are read (default 1)
  --rooms-at-once N    small rooms that are talked in at the same time (default 4096)
  --programs DIR       the folder of hansard-tool (default: that of this program)
  --keep               leave the data directory
  --json               everything as JSON instead of the tables";

/// How the result is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Tables,
    Json,
}

/// What becomes of the data directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Data {
    Remove,
    Keep,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, task] = &arguments[..]
        && command == "child"
    {
        return phase::run(&serde_json::from_str::<Task>(task)?);
    }
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let folder = tempfile::Builder::new().prefix("scale-").tempdir()?;
    let (plan, shown, data) =
        parse(arguments, folder.path()).map_err(|wrong| format!("{wrong}\n{USAGE}"))?;
    if plan.data.exists() {
        return Err(format!("{} exists already", plan.data.display()).into());
    }
    let report = run(&plan);
    if data == Data::Remove && plan.data.exists() {
        std::fs::remove_dir_all(&plan.data)?;
    }
    drop(folder);
    let report = report?;
    match shown {
        Shown::Tables => print!("{}", table::report(&plan, &report)),
        Shown::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    std::process::exit(i32::from(!report.wrong.is_empty()));
}

fn parse(arguments: Vec<String>, folder: &Path) -> Outcome<(Plan, Shown, Data)> {
    let programs = std::env::current_exe()?.parent().ok_or("no folder of programs")?.to_owned();
    let mut plan = Plan {
        size: Size { rooms: 1_000_000, big: 10_000_000, window: 4096, seed: 1 },
        data: folder.join("data"),
        logs: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../server/tests/data"),
        programs,
        folder: folder.to_owned(),
    };
    let (mut shown, mut data) = (Shown::Tables, Data::Remove);
    let mut arguments = arguments.into_iter();
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--keep" => data = Data::Keep,
            "--json" => shown = Shown::Json,
            _ => {
                let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
                match name.as_str() {
                    "--rooms" => plan.size.rooms = value.parse()?,
                    "--messages-in-big" => plan.size.big = value.parse()?,
                    "--data" => plan.data = value.into(),
                    "--logs" => plan.logs = value.into(),
                    "--seed" => plan.size.seed = value.parse()?,
                    "--rooms-at-once" => plan.size.window = value.parse()?,
                    "--programs" => plan.programs = value.into(),
                    _ => return Err(format!("unknown argument {name} {value}").into()),
                }
            }
        }
    }
    let Size { rooms, big, window, .. } = plan.size;
    if rooms == 0 || big == 0 || window == 0 {
        return Err("there must be rooms and messages".into());
    }
    Ok((plan, shown, data))
}
