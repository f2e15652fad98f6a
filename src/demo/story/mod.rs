//! The story of one machine, from the first sign of wear to a labelled, closed ticket.
//!
//! Everything is read and done through the public API, as a planner and a technician would: whoever
//! follows sees which question each answer belongs to. It takes up the story wherever the plant's case
//! stands, tries now and then what is not allowed yet, shows what is missing, and does that. At the end
//! the case's history is printed as one page.

mod client;
mod page;
mod work;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::SignIn;
use client::Client;

/// How the story is told.
#[derive(Debug)]
pub struct Options {
    /// Address of the API.
    pub url: String,
    pub sign_in: SignIn,
    /// Only this asset's case.
    pub asset: Option<String>,
    /// Without pauses.
    pub fast: bool,
    /// How long to wait for a case.
    pub wait: Duration,
}

impl Options {
    /// The sign-in that `demo prepare` has left in `dir`.
    ///
    /// # Errors
    /// When there is none.
    pub fn sign_in_of(dir: &Path) -> anyhow::Result<SignIn> {
        let path = dir.join("signin.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("no {}: start the demo with ./dev up first", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }
}

/// Says something, with a pause in which a person can read it.
pub(super) struct Teller<'a> {
    out: &'a mut (dyn Write + Send),
    pause: Duration,
    chapter: usize,
}

impl Teller<'_> {
    pub(super) async fn chapter(&mut self, title: &str) -> anyhow::Result<()> {
        self.chapter += 1;
        writeln!(self.out, "\n{}. {title}", self.chapter)?;
        self.out.flush()?;
        tokio::time::sleep(self.pause).await;
        Ok(())
    }

    pub(super) async fn say(&mut self, text: impl AsRef<str>) -> anyhow::Result<()> {
        writeln!(self.out, "   {}", text.as_ref())?;
        self.out.flush()?;
        tokio::time::sleep(self.pause / 2).await;
        Ok(())
    }
}

/// What the story is about.
struct Subject {
    case: Value,
    prediction: Option<Value>,
}

/// Tells the story.
///
/// # Errors
/// When the API doesn't answer as it should, or no machine of the plant wears within the time.
pub async fn tell(options: &Options, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    let mut teller = Teller {
        out,
        pause: if options.fast {
            Duration::ZERO
        } else {
            Duration::from_millis(1800)
        },
        chapter: 0,
    };
    let client = Client::sign_in(&options.url, &options.sign_in).await?;
    teller.chapter("A machine wears").await?;
    let subject = find(&client, options, &mut teller).await?;
    introduce(&client, &subject, &mut teller).await?;
    teller.chapter("The planner decides").await?;
    let ticket = decide(&client, &subject, &mut teller).await?;
    work::do_ticket(&client, &ticket, &mut teller).await?;
    teller.chapter("What the models learn").await?;
    labels(&client, &subject, &mut teller).await?;
    let case = text(&subject.case["id"]);
    let history = page::history(&client, &case).await?;
    writeln!(teller.out, "\n{history}")?;
    Ok(())
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The newest case that speaks of a bearing, else of wear, else any, with its prediction if it has one.
async fn find(client: &Client, options: &Options, teller: &mut Teller<'_>) -> anyhow::Result<Subject> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        let cases = client.get("/v1/cases?open=true&limit=200").await?;
        let mut best: Option<(u8, Value)> = None;
        for case in cases["data"].as_array().into_iter().flatten() {
            if options
                .asset
                .as_ref()
                .is_some_and(|name| case["asset"]["name"] != name.as_str())
            {
                continue;
            }
            let code = case["failure_mode"]["code"].as_str().unwrap_or_default();
            // One whose work is over tells no story any more.
            let over = ["completed", "closed", "cancelled"]
                .iter()
                .any(|status| case["ticket"]["status"] == *status);
            let rank = u8::from(code.contains("bearing")) * 2 + u8::from(code.contains("wear"));
            if !over && best.as_ref().is_none_or(|(before, _)| rank > *before) {
                best = Some((rank, case.clone()));
            }
        }
        if let Some((_, case)) = best {
            let path = format!("/v1/cases/{}", text(&case["id"]));
            let detail = client.get(&path).await?;
            let prediction = detail["predictions"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|one| {
                    ["new", "in_review", "snoozed"]
                        .iter()
                        .any(|status| one["status"] == *status)
                })
                .cloned();
            // A case without anything to decide or to do isn't ready yet.
            if prediction.is_some() || detail["ticket"].is_object() {
                return Ok(Subject {
                    case: detail,
                    prediction,
                });
            }
        }
        if begun.elapsed() >= options.wait {
            bail!(
                "no open case within {:?}: is the plant running (./dev status)?",
                options.wait
            );
        }
        if !told {
            teller.say("(no case is open yet; waiting for the plant)").await?;
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn introduce(client: &Client, subject: &Subject, teller: &mut Teller<'_>) -> anyhow::Result<()> {
    let case = &subject.case;
    let asset = text(&case["asset"]["id"]);
    let mode = case["failure_mode"]["name"]
        .as_str()
        .unwrap_or("something nobody has named");
    teller
        .say(format!(
            "{}: {} ({}).",
            text(&case["asset"]["name"]),
            text(&case["title"]),
            mode
        ))
        .await?;
    // An asset that was never assessed has no answer yet; the story goes on without it.
    if let Some(assessment) = client
        .get_if_there(&format!("/v1/assets/{asset}/assessment"))
        .await?
    {
        if let Some(health) = assessment["health"].as_f64() {
            teller
                .say(format!("Its health is {health:.0} of 100, because:"))
                .await?;
        }
        for factor in assessment["factors"].as_array().into_iter().flatten().take(3) {
            teller
                .say(format!(
                    "  - {} (-{:.0})",
                    text(&factor["text"]),
                    factor["penalty"].as_f64().unwrap_or(0.0)
                ))
                .await?;
        }
    }
    for alarm in case["alarms"].as_array().into_iter().flatten().take(3) {
        teller
            .say(format!(
                "Alarm “{}”, {}.",
                text(&alarm["rule"]["name"]),
                text(&alarm["severity"])
            ))
            .await?;
    }
    if let Some(prediction) = &subject.prediction {
        let share = |field: &str| 100.0 * prediction[field].as_f64().unwrap_or(0.0);
        teller
            .say(format!(
                "It fails within {:.0} days with {:.0} % ({:.0} to {:.0} %), says the model.",
                prediction["horizon_h"].as_f64().unwrap_or(0.0) / 24.0,
                share("probability"),
                share("p_low"),
                share("p_high")
            ))
            .await?;
    }
    for decision in case["decisions"].as_array().into_iter().flatten().take(2) {
        teller
            .say(format!("Dispatch: {}", text(&decision["reason"])))
            .await?;
    }
    Ok(())
}

/// Accepts the prediction, or takes the ticket that the alarm has made; gives the ticket's id.
async fn decide(client: &Client, subject: &Subject, teller: &mut Teller<'_>) -> anyhow::Result<String> {
    if let Some(prediction) = &subject.prediction {
        let path = format!("/v1/predictions/{}", text(&prediction["id"]));
        let accepted = client.order(&path, "accept", json!({})).await?;
        let ticket = text(&accepted["ticket_id"]);
        if !ticket.is_empty() {
            teller
                .say("The planner accepts the prediction; it has a ticket now.")
                .await?;
            return Ok(ticket);
        }
    }
    let ticket = text(&subject.case["ticket"]["id"]);
    if ticket.is_empty() {
        bail!("neither prediction nor alarm has led to a ticket");
    }
    teller
        .say("The alarm has made a ticket already; the planner takes it.")
        .await?;
    Ok(ticket)
}

async fn labels(client: &Client, subject: &Subject, teller: &mut Teller<'_>) -> anyhow::Result<()> {
    let path = format!("/v1/predictions?case_id={}", text(&subject.case["id"]));
    let all = client.get(&path).await?;
    let mut any = false;
    for prediction in all["data"].as_array().into_iter().flatten() {
        if let Some(label) = prediction["label"].as_str() {
            any = true;
            teller
                .say(format!(
                    "The prediction of {:.0} % is labelled {label}.",
                    100.0 * prediction["probability"].as_f64().unwrap_or(0.0)
                ))
                .await?;
        }
    }
    if !any {
        teller
            .say("No prediction had been made; the ticket's outcome and coding stand for the next ones to learn from.")
            .await?;
    }
    Ok(())
}
