//! Whether a command can be executed at all, before a slice is asked for it.
//!
//! Must never execute it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::failure::{Exit, Failure};

/// Whether `program` is found and executable, by its path or in the folders of `path` and `also`.
///
/// # Errors
/// [`Failure`] with exit code 127 when there is no such file, 126 when it cannot be executed.
pub(crate) fn check(
    program: &OsStr,
    path: Option<&OsStr>,
    also: Option<&OsStr>,
) -> Result<(), Failure> {
    let name = program.to_string_lossy();
    let found = if program.as_bytes().contains(&b'/') {
        judge(Path::new(program))
    } else {
        let folders =
            [path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin")), also.unwrap_or_default()];
        folders
            .iter()
            .flat_map(|folders| std::env::split_paths(folders))
            .filter(|folder| !folder.as_os_str().is_empty())
            .map(|folder| judge(&folder.join(program)))
            .max()
            .unwrap_or(Found::Nothing)
    };
    match found {
        Found::Program => Ok(()),
        Found::Unfit => Err(Failure::new("E-NOT-EXECUTABLE", format!("cannot execute {name}"))
            .exit(Exit::CannotExecute)
            .hint("is it a program, and may you execute it?")),
        Found::Nothing => Err(Failure::new("E-NO-COMMAND", format!("there is no command {name}"))
            .exit(Exit::NotFound)
            .hint("check the spelling and PATH; no slice was asked for")),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Nothing,
    Unfit,
    Program,
}

fn judge(path: &Path) -> Found {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() && access(path, Access::EXEC_OK).is_ok() => Found::Program,
        Ok(_) => Found::Unfit,
        Err(_) => Found::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(program: &str, path: &str) -> u8 {
        match check(OsStr::new(program), Some(OsStr::new(path)), None) {
            Ok(()) => 0,
            Err(failure) => failure.exit.code(),
        }
    }

    #[test]
    fn commands_are_found_as_the_shell_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "text").unwrap();
        let path = format!("{}:/bin:/usr/bin", folder.path().display());
        assert_eq!(code("sh", &path), 0);
        assert_eq!(code("/bin/sh", ""), 0);
        assert_eq!(code("no-such-command", &path), 127);
        assert_eq!(code("./no/such/command", &path), 127);
        assert_eq!(code("plain", &path), 126);
        assert_eq!(code("/tmp", &path), 126);
        let only_here = Some(OsStr::new("/bin:/usr/bin"));
        assert!(check(OsStr::new("sh"), Some(folder.path().as_os_str()), only_here).is_ok());
    }
}
