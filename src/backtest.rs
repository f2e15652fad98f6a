//! `forewarn backtest`: a model on a public data set, and what is being done meanwhile.

use std::io::{IsTerminal, Write, stderr};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use analytics::backtest::{BacktestArgs, Progress};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// cmapss, azure, nab, ai4i, ims, femto, skab, metropt, hydraulic, naval or cwru.
    name: String,
    /// Folder of the data set.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Test on this folder what was trained on the other.
    #[arg(long, value_name = "DIR")]
    test_data: Option<PathBuf>,
    /// Part of a set, such as FD001 (cmapss).
    #[arg(long)]
    subset: Option<String>,
    /// How far ahead, for failure probabilities: 24h, 48h, 7d (azure).
    #[arg(long, value_name = "TIME", value_parser = analytics::backtest::horizon)]
    horizon: Option<f64>,
    /// Draw pictures into this folder.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// No progress on the error stream; the result is one JSON object either way.
    #[arg(long)]
    json: bool,
}

/// Steps that may wait to be shown; more are not.
const WAITING: usize = 64;
const TICK: Duration = Duration::from_secs(1);

/// # Errors
/// Whatever is wrong with the folder: file, line and column.
pub fn run(args: Args) -> anyhow::Result<()> {
    let (say, steps) = sync_channel::<String>(WAITING);
    let progress = if args.json {
        Progress::default()
    } else {
        Progress::new(move |step| {
            // Whoever shows them may be behind: the next one says more.
            let _ = say.try_send(step.to_owned());
        })
    };
    let name = args.name.clone();
    let title = format!("{name}: reading, training and testing on {}", args.data.display());
    let shown = (!args.json).then(|| {
        let _ = writeln!(stderr(), "{title}");
        std::thread::spawn(move || show(&name, &steps))
    });
    let given = BacktestArgs {
        test_data: args.test_data,
        subset: args.subset,
        horizon_h: args.horizon,
        svg: args.svg,
        progress,
    };
    let found = analytics::backtest::run(&args.name, &args.data, &given);
    // Nothing more will be said: whoever shows it ends.
    drop(given);
    if let Some(shown) = shown {
        let _ = shown.join();
    }
    println!("{}", found?);
    Ok(())
}

/// Steps as they come: on a terminal in one line with the seconds so far, elsewhere a line a second at most.
fn show(name: &str, steps: &Receiver<String>) {
    let (terminal, began) = (stderr().is_terminal(), Instant::now());
    let mut now: Option<String> = None;
    let mut last = began;
    loop {
        let over = match steps.recv_timeout(TICK) {
            Ok(step) => {
                now = Some(step);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        let seconds = began.elapsed().as_secs();
        let mut out = stderr();
        if terminal && over {
            let _ = write!(out, "\r\x1b[2K");
        } else if terminal {
            let step = now.as_deref().unwrap_or("reading");
            let _ = write!(out, "\r\x1b[2K{name}: {step}, {seconds} s");
        } else if last.elapsed() >= TICK
            && let Some(step) = now.take()
        {
            last = Instant::now();
            let _ = writeln!(out, "{name}: {step}, {seconds} s");
        }
        let _ = out.flush();
        if over {
            return;
        }
    }
}
