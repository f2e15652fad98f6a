//! Programs that are not ours, for tests: servers and clients in Python and Node, with packages from their registries.
//!
//! Packages are installed once, into a folder of the build (`scripts/test_packages.sh`). Where they can't be had a test
//! says what it leaves out and passes; with `FOREWARN_REQUIRE_SERVERS` in the environment that is a failure.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Python with these packages of PyPI. `cache` is the build's folder for tests, `env!("CARGO_TARGET_TMPDIR")`.
///
/// # Panics
/// When they can't be had, and `FOREWARN_REQUIRE_SERVERS` is set.
pub fn python(cache: &str, packages: &[&str]) -> Option<Command> {
    let folder = installed("pip", cache, packages)?;
    Some(Command::new(folder.join("bin/python")))
}

/// Node that finds these packages of npm by `require`.
///
/// # Panics
/// When they can't be had, and `FOREWARN_REQUIRE_SERVERS` is set.
pub fn node(cache: &str, packages: &[&str]) -> Option<Command> {
    let folder = installed("npm", cache, packages)?;
    let mut command = Command::new("node");
    command.env("NODE_PATH", folder.join("node_modules"));
    Some(command)
}

/// Whether a test may leave out what needs `what`, which can't be had because of `why`. Says so.
///
/// # Panics
/// When `FOREWARN_REQUIRE_SERVERS` is set.
pub fn left_out(what: &str, why: &str) {
    assert!(
        std::env::var_os("FOREWARN_REQUIRE_SERVERS").is_none(),
        "FOREWARN_REQUIRE_SERVERS is set, and there is no {what}: {why}"
    );
    eprintln!("LEFT OUT: there is no {what}: {why}");
}

fn installed(kind: &str, cache: &str, packages: &[&str]) -> Option<PathBuf> {
    let name: String = packages
        .join("-")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let folder = Path::new(cache).join("packages").join(format!("{kind}-{name}"));
    let prepared = Command::new("sh")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/test_packages.sh"))
        .args([kind.as_ref(), folder.as_os_str()])
        .args(packages)
        .output();
    let why = match prepared {
        Ok(output) if output.status.success() => return Some(folder),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("can't run sh: {error}"),
    };
    left_out(&packages.join(" "), &why);
    None
}

/// A server that says `ready …` in its first line and ends when its standard input does: with the test.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// What it says once it is ready, such as its port.
    pub said: String,
    _stdin: ChildStdin,
}

impl Server {
    /// # Panics
    /// When it doesn't start, or says anything else.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't run {command:?}: {error}"));
        let stdin = child.stdin.take().expect("it is piped");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut said)
            .expect("its output can be read");
        let rest = said
            .strip_prefix("ready")
            .unwrap_or_else(|| panic!("{command:?} said {said:?}"));
        Self {
            said: rest.trim().to_owned(),
            child,
            _stdin: stdin,
        }
    }

    /// Ends it at once.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
