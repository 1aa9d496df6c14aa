//! `jumpstream status`: what is covered, counted and verified, by the state and by a running instance.

mod instance;
mod lateness;
mod map;
mod stream;
mod words;

use std::io::Write as _;
use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;

use crate::clock::{self, Time};
use crate::config::Config;
use crate::exit_code::ExitCode;
use crate::telemetry::status::{self, AccountStatus};
use instance::Page;
use stream::{Known, Stream, Stretch};

/// The version of the JSON; a change that breaks a reader raises it.
const VERSION: u32 = 1;

/// Says what has been read, counted and verified, and what is missing
///
/// It reads the state, beside a running instance too, and disturbs nothing: it takes no lock, joins no group, asks nothing
/// of the API. What the state says is as new as the last commit; an idle stream's edge may be written up to 5 min late.
/// Where an instance answers at the configuration's page.listen it adds what only that one knows: what each stream is
/// doing at this moment, and how much of the request rate is used. With --from-instance only that instance is asked, from
/// anywhere. docs/reference/status.md describes the JSON.
///
/// It exits with 3 where events are known to exist that were not delivered, with --from and --to only of that time.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, a YAML file; JUMPSTREAM_… variables override its keys
    #[arg(long, value_name = "FILE", required_unless_present = "from_instance")]
    config: Option<PathBuf>,

    /// Ask this instance's page, such as http://10.0.0.7:9465, and read no state; --config then only has page.token
    #[arg(long, value_name = "URL", value_parser = url, conflicts_with = "from")]
    from_instance: Option<String>,

    /// Print JSON for a machine
    #[arg(long)]
    json: bool,

    /// Was anything missing from here on? An instant or a date
    #[arg(long, value_name = "TIME", value_parser = super::ledgers::instant)]
    from: Option<Time>,

    /// Was anything missing up to here? Without it, up to now
    #[arg(long, value_name = "TIME", value_parser = super::ledgers::instant, requires = "from")]
    to: Option<Time>,
}

/// What is said of all streams.
#[derive(Serialize)]
struct Status {
    version: u32,
    jumpstream: &'static str,
    time: Time,
    /// What was asked about; null: everything.
    range: Option<Stretch>,
    /// Null where none was asked.
    instance: Option<Instance>,
    streams: Vec<Stream>,
}

/// The running instance that was asked.
#[derive(Serialize)]
struct Instance {
    url: String,
    /// Why it did not answer.
    fault: Option<String>,
    state: Option<String>,
    reasons: Vec<String>,
    accounts: Vec<AccountStatus>,
}

fn url(text: &str) -> Result<String, String> {
    let is_url = ["http://", "https://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    is_url.then(|| text.to_owned()).ok_or_else(|| "expected a URL such as http://127.0.0.1:9465".into())
}

/// Cancelling it leaves everything as it was.
pub async fn run(args: Args) -> ExitCode {
    let looked = match &args.from_instance {
        Some(url) => of_instance(url, &args).await,
        None => of_state(&args).await,
    };
    let (status, text) = match looked {
        Ok(looked) => looked,
        Err(code) => return code,
    };
    let text = if args.json { serde_json::to_string_pretty(&status).unwrap_or_default() + "\n" } else { text };
    // A reader that went away (`| head`) has seen what it wanted.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    let missing = status.streams.iter().any(|stream| stream.missing_events > 0);
    if missing { ExitCode::Missing } else { ExitCode::Done }
}

/// By one instance alone.
async fn of_instance(url: &str, args: &Args) -> Result<(Status, String), ExitCode> {
    let config = config(args)?;
    let page = Page::at(url, config.as_ref().map(|config| &config.page));
    let answer = page.ask().await.map_err(|why| {
        eprintln!("jumpstream: {} can't be asked: {why}", page.url);
        ExitCode::Failed
    })?;
    let streams: Vec<Stream> = answer.streams.iter().cloned().map(Stream::of_instance).collect();
    let text = streams.iter().map(|stream| words::describe(stream, None, None, answer.time)).collect();
    Ok(finish(None, Some(Instance::of(&page, Ok(&answer))), streams, text))
}

/// By the state, and by the instance that runs beside it, if any.
async fn of_state(args: &Args) -> Result<(Status, String), ExitCode> {
    let config = config(args)?.ok_or(ExitCode::Usage)?;
    let ledgers = super::ledgers::of(&config).await?;
    let page = Page::of(&config.page);
    let answer = match &page {
        Some(page) => Some(page.ask().await),
        None => None,
    };
    let now = clock::wall();
    let range: Option<Range<Time>> = args.from.map(|from| from..args.to.unwrap_or(now));
    let running = |organization: &str, service: &str| {
        let mut all = answer.iter().flatten().flat_map(|answer| &answer.streams);
        all.find(|own| own.organization == organization && own.service == service).cloned()
    };
    let (mut streams, mut text) = (Vec::new(), String::new());
    for (key, ledger) in &ledgers {
        let running = running(&key.organization, &key.service);
        let known = Known { retention: config.verify.retention, running };
        let stream = Stream::of_ledger(key, ledger, range.as_ref(), now, known);
        text += &words::describe(&stream, Some(ledger), range.as_ref(), now);
        streams.push(stream);
    }
    let instance = page.iter().zip(&answer).next().map(|(page, answer)| Instance::of(page, answer.as_ref()));
    Ok(finish(range, instance, streams, text))
}

fn config(args: &Args) -> Result<Option<Config>, ExitCode> {
    Ok(args.config.as_deref().map(super::load).transpose()?.map(|(config, _)| config))
}

fn finish(
    range: Option<Range<Time>>,
    instance: Option<Instance>,
    streams: Vec<Stream>,
    described: String,
) -> (Status, String) {
    let mut text = if described.is_empty() { "no stream has been seen yet\n\n".to_owned() } else { described };
    text += &words::instance(instance.as_ref());
    if streams.iter().any(|stream| stream.is_mapped()) && range.is_none() {
        text += map::LEGEND;
    }
    let jumpstream = env!("CARGO_PKG_VERSION");
    let range = range.map(Stretch::from);
    (Status { version: VERSION, jumpstream, time: clock::wall(), range, instance, streams }, text)
}

impl Instance {
    fn of(page: &Page, answer: Result<&status::Status, &String>) -> Instance {
        let url = page.url.clone();
        match answer {
            Ok(answer) => Instance {
                url,
                fault: None,
                state: Some(answer.state.to_string()),
                reasons: answer.reasons.clone(),
                accounts: answer.accounts.clone(),
            },
            Err(why) => {
                let (state, reasons, accounts) = (None, Vec::new(), Vec::new());
                Instance { url, fault: Some(why.clone()), state, reasons, accounts }
            }
        }
    }
}
