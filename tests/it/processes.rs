//! The real executables, started and ended as an operator or a power cut would.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A process that doesn't outlive its test.
pub struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    pub fn spawn(name: &'static str, command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name, child }
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub fn kill(mut self) {
        self.child
            .kill()
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        self.child
            .wait()
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// SIGTERM, and the exit code must say that it was an orderly end.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("kill is there");
        assert!(sent.success(), "{} is gone already", self.name);
        let ended = self.child.wait().expect("it can be waited for");
        assert!(ended.success(), "{} ended with {ended}", self.name);
    }

    pub fn assert_running(&mut self) {
        let ended = self.child.try_wait().expect("it can be asked");
        assert!(ended.is_none(), "{} ended by itself: {ended:?}", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn forewarn() -> Command {
    Command::new(env!("CARGO_BIN_EXE_forewarn"))
}

/// The agent is another package's executable; cargo puts both into the same folder.
pub fn forewarn_edge() -> Command {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_forewarn")).with_file_name("forewarn-edge");
    assert!(
        path.is_file(),
        "{} is missing: test the whole workspace, cargo test --workspace",
        path.display()
    );
    Command::new(path)
}

/// A port that was free a moment ago. For processes that must come back on the same one.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    listener.local_addr().expect("it is bound").port()
}
