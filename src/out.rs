//! What commands print. `forewarn … | head` ends quietly once nobody reads any more, as other commands do.
//!
//! The `println!`, `print!` and `eprintln!` of this executable lead here: the standard ones panic on a closed pipe.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Nobody reads the standard output any more.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// What shells report of a command that a closed pipe has ended: 128 and the number of SIGPIPE.
const ENDED: u8 = 141;

/// The standard output, for what takes a writer.
pub struct Stdout;

fn noticed<T>(result: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &result
        && error.kind() == ErrorKind::BrokenPipe
    {
        CLOSED.store(true, Ordering::Relaxed);
    }
    result
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        noticed(io::stdout().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        noticed(io::stdout().flush())
    }
}

/// What [`print`] leaves a command with.
struct Unwritten(io::Error);

/// Prints, or leaves the command: what it holds is given back on the way to [`run`].
pub fn print(text: fmt::Arguments<'_>) {
    if let Err(error) = Stdout.write_fmt(text) {
        // Not by a panic: that would say that something is wrong with the command.
        resume_unwind(Box::new(Unwritten(error)));
    }
}

/// Prints on the error stream, which nobody has to read.
pub fn progress(text: fmt::Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}

/// Runs a command to its end, or to that of its reader.
pub fn run(command: impl FnOnce() -> anyhow::Result<ExitCode>) -> ExitCode {
    let ended = catch_unwind(AssertUnwindSafe(command));
    if CLOSED.load(Ordering::Relaxed) {
        return ExitCode::from(ENDED);
    }
    match ended {
        Ok(Ok(code)) => return code,
        // One place where a command's error becomes text: the chain, outermost first.
        Ok(Err(error)) => eprintln!("forewarn: {error:#}"),
        Err(left) => match left.downcast::<Unwritten>() {
            Ok(unwritten) => eprintln!("forewarn: the result can't be written: {}", unwritten.0),
            Err(panic) => resume_unwind(panic),
        },
    }
    ExitCode::FAILURE
}
