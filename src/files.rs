//! The files that the operator names: configuration, passwords, tokens, sources, outputs, links.
//!
//! The only module of the binary that touches the file system; the data directory is the engine's,
//! but for the sign-in link. Every read has a maximum. INVARIANT: a secret is never written into a
//! file that others can read, and an output appears under its name only when it is whole.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::exits::{Exit, Failure, of_io};

/// A configuration file.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// A file that holds one password or token.
const SECRET_BYTES_MAX: u64 = 4096;
/// The name of the sign-in link in the data directory.
const LINK_FILE: &str = "sign-in-link";

/// What a path of a data directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing, or an empty folder.
    Free,
    /// A folder with something in it.
    Taken,
}

/// Looks whether a data directory can be made here.
pub fn look_at(path: &Path) -> Result<Place, Failure> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(if entries.next().is_some() { Place::Taken } else { Place::Free }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Place::Free),
        Err(error) => Err(failed("cannot look at the data directory", path, &error)),
    }
}

/// Makes the folders above a new data directory, for nobody else.
pub fn make_parent(path: &Path) -> Result<(), Failure> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
    made.map_err(|error| failed("cannot create a folder", parent, &error))
}

/// The text of a configuration file.
pub fn read_config(path: &Path) -> Result<String, Failure> {
    let config = |text: String| Failure::new(Exit::Config, text);
    let bytes = read(path, CONFIG_BYTES_MAX).map_err(|failure| config(failure.text))?;
    String::from_utf8(bytes)
        .map_err(|_| config(format!("configuration file is not UTF-8 file={path:?}")))
}

/// A password or a token from a file: all of it but one newline at its end.
pub fn read_secret(path: &Path) -> Result<String, Failure> {
    let bytes = read(path, SECRET_BYTES_MAX)?;
    let mut text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(Exit::Data, format!("secret is not UTF-8 file={path:?}")))?;
    if text.ends_with('\n') {
        text.pop();
    }
    if text.is_empty() {
        return Err(Failure::new(Exit::Data, format!("secret is empty file={path:?}")));
    }
    Ok(text)
}

/// The bytes of a source to be imported.
pub fn read_source(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    read(path, u64::try_from(bytes_max).unwrap_or(u64::MAX))
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let wrong = |error: &io::Error| failed("cannot read a file", path, error);
    let file = File::open(path).map_err(|error| wrong(&error))?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= max) {
        return Ok(bytes);
    }
    Err(Failure::new(Exit::Data, format!("file is too large file={path:?} bytes_max={max}")))
}

/// Writes a sign-in link for the one who can read the data directory, in place of an earlier one.
pub fn write_link(data: &Path, link: &str) -> Result<PathBuf, Failure> {
    let path = data.join(LINK_FILE);
    let wrong = |error: &io::Error| failed("cannot write the sign-in link", &path, error);
    remove_link(data)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut file = file.map_err(|error| wrong(&error))?;
    file.write_all(format!("{link}\n").as_bytes()).map_err(|error| wrong(&error))?;
    file.sync_all().map_err(|error| wrong(&error))?;
    Ok(path)
}

/// Removes a sign-in link, if there is one.
pub fn remove_link(data: &Path) -> Result<(), Failure> {
    let path = data.join(LINK_FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("cannot remove the old sign-in link", &path, &error))
        }
        _ => Ok(()),
    }
}

/// A file that is being written. Dropped unfinished it leaves nothing.
pub struct Output {
    file: BufWriter<File>,
    part: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl Output {
    /// Begins a new file; one that exists is never overwritten.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let exists = || io::Error::new(io::ErrorKind::AlreadyExists, "the file exists");
        if fs::symlink_metadata(path).is_ok() {
            return Err(failed("cannot create the output", path, &exists()));
        }
        let mut part = OsString::from(path);
        part.push(".part");
        let part = PathBuf::from(part);
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let file = file.map_err(|error| failed("cannot create the output", &part, &error))?;
        Ok(Self { file: BufWriter::new(file), part, path: path.to_owned(), finished: false })
    }

    /// Makes the whole file appear under its name.
    pub fn finish(mut self) -> Result<(), Failure> {
        let done = self.file.flush();
        let done = done.and_then(|()| self.file.get_ref().sync_all());
        let done = done.and_then(|()| fs::hard_link(&self.part, &self.path));
        // Whether it worked or not, the drop removes the part.
        done.map_err(|error| failed("cannot finish the output", &self.path, &error))?;
        self.finished = true;
        fs::remove_file(&self.part)
            .map_err(|error| failed("cannot remove a part", &self.part, &error))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing can be told from here; the part says by its name what it is.
            let _ = fs::remove_file(&self.part);
        }
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(of_io(error.kind()), format!("{what} path={path:?} error={error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_newline_is_taken_from_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (written, expected) in [("a b\n", "a b"), ("a", "a"), ("a\n\n", "a\n"), (" a ", " a ")]
        {
            fs::write(&path, written).unwrap();
            assert_eq!(read_secret(&path).unwrap(), expected);
        }
        for wrong in [&b""[..], b"\n", b"\xff", &[b'x'; 4097]] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(read_secret(&path).unwrap_err().exit, Exit::Data);
        }
        assert_eq!(read_secret(&dir.path().join("none")).unwrap_err().exit, Exit::NoInput);
    }

    #[test]
    fn a_link_is_for_its_owner_alone_and_replaces_the_last() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LINK_FILE), "old").unwrap();
        let path = write_link(dir.path(), "http://x/#link=y").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "http://x/#link=y\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        remove_link(dir.path()).unwrap();
        remove_link(dir.path()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn an_output_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        let mut output = Output::create(&path).unwrap();
        output.write_all(b"whole").unwrap();
        assert!(!path.exists());
        output.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(Output::create(&path).err().map(|f| f.exit), Some(Exit::CannotCreate));
    }

    #[test]
    fn a_place_is_free_or_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look_at(dir.path()), Ok(Place::Free));
        let inside = dir.path().join("a/b");
        assert_eq!(look_at(&inside), Ok(Place::Free));
        make_parent(&inside).unwrap();
        assert_eq!(look_at(dir.path()), Ok(Place::Taken));
        fs::write(&inside, "x").unwrap();
        assert_eq!(look_at(&inside).unwrap_err().exit, Exit::Io);
    }
}
