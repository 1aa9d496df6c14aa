//! The emulator in a process of its own, and what the bench asks of it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use bytes::Bytes;
use jumpstream::clock::Time;
use jumpstream::event::Event;
use jumpstream::source::Element;
use jumpstream::source::page::{Limits, Parser};
use serde::Deserialize;

use crate::Outcome;
use crate::process::{self, Process};

const KEY: &str = "jca_bench";
/// Where the emulator's clock begins: the same data set and the same windows in every run.
const CLOCK: &str = "2026-06-01T00:00:00Z";

/// A data set, and when it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Dataset {
    pub events: u32,
    pub days: u32,
    /// How long after the last of them, in days: more than the last age of 8 days, or nothing.
    pub later_days: u32,
    pub incompressible: bool,
    /// So many pages are kept ready.
    pub cached_pages: u32,
}

impl Dataset {
    /// Of ten days, all of it older than the last age when it is looked at.
    pub fn of(events: u32) -> Dataset {
        Dataset { events, days: 10, later_days: 9, incompressible: false, cached_pages: 8 }
    }

    /// The instant that coverage is to begin at.
    pub fn start(&self) -> String {
        let clock: jiff::Timestamp = CLOCK.parse().expect("it is a time");
        (clock - jiff::SignedDuration::from_hours(24 * i64::from(self.days))).to_string()
    }
}

/// A running emulator.
pub struct Api {
    pub url: String,
    pub process: Process,
}

/// A request as the emulator remembers it.
#[derive(Deserialize)]
struct Asked {
    time: String,
    path: String,
    body: String,
    status: u16,
}

impl Asked {
    fn time(&self) -> jiff::Timestamp {
        self.time.parse().expect("the emulator writes RFC 3339")
    }
}

impl Api {
    /// Returns when the data set is made and requests are answered.
    pub async fn start(dataset: &Dataset) -> Outcome<Api> {
        let mut arguments = vec![
            format!("--events={}", dataset.events),
            format!("--span={}d", dataset.days),
            format!("--clock={CLOCK}"),
            format!("--cached-pages={}", dataset.cached_pages),
        ];
        arguments.extend(dataset.incompressible.then(|| "--incompressible".to_owned()));
        let api = Api::start_with(&arguments)?;
        if dataset.later_days > 0 {
            api.ask("/_emulator/clock", Some(format!("{{\"advance\":\"{}d\"}}", dataset.later_days))).await?;
        }
        Ok(api)
    }

    pub fn start_with(arguments: &[String]) -> Outcome<Api> {
        let mut command = process::jumpstream();
        command.arg("emulate").args(arguments).arg(format!("--key={KEY}"));
        let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let mut url = String::new();
        BufReader::new(process.0.stdout.take().ok_or("no pipe")?).read_line(&mut url)?;
        Ok(Api { url: url.trim().to_owned(), process })
    }

    pub fn cpu_seconds(&self) -> Outcome<f64> {
        process::cpu_seconds(self.process.id())
    }

    /// What its clock shows.
    pub async fn now(&self) -> Outcome<jiff::Timestamp> {
        #[derive(Deserialize)]
        struct Clock {
            now: String,
        }
        Ok(serde_json::from_str::<Clock>(&self.ask("/_emulator/clock", None).await?)?.now.parse()?)
    }

    /// The requests from `since` on by its clock; of the newest 10,000.
    async fn asked(&self, since: jiff::Timestamp) -> Outcome<Vec<Asked>> {
        let lines = self.ask("/_emulator/requests", None).await?;
        let asked = lines.lines().map(serde_json::from_str::<Asked>).collect::<Result<Vec<_>, _>>()?;
        Ok(asked.into_iter().filter(|asked| asked.time() >= since).collect())
    }

    /// Those of them that were answered with a page of events.
    async fn pages(&self, since: jiff::Timestamp) -> Outcome<Vec<Asked>> {
        let is_page = |asked: &Asked| asked.status == 200 && asked.path.ends_with("/events");
        // An account that names no organization looks for one in a page of a single event.
        Ok(self
            .asked(since)
            .await?
            .into_iter()
            .filter(|asked| is_page(asked) && !asked.body.contains("\"limit\":1,"))
            .collect())
    }

    /// How many of them were for counts, for counts by the minute or hour, and for pages.
    pub async fn requests_since(&self, since: jiff::Timestamp) -> Outcome<[usize; 3]> {
        let asked = self.asked(since).await?;
        let of = |path: &str| asked.iter().filter(|asked| asked.path.ends_with(path)).count();
        Ok(["/events/count", "/events/interval", "/events"].map(of))
    }

    /// The bodies of those requests, a line each.
    pub async fn pages_since(&self, since: jiff::Timestamp) -> Outcome<String> {
        Ok(self.pages(since).await?.into_iter().map(|asked| asked.body + "\n").collect())
    }

    /// How many seconds after `since` the first of them came.
    pub async fn first_page_since(&self, since: jiff::Timestamp) -> Outcome<f64> {
        let pages = self.pages(since).await?;
        Ok(pages.first().ok_or("no page was asked for")?.time().duration_since(since).as_secs_f64())
    }

    /// How many pages of events it has answered with.
    pub async fn page_count(&self) -> Outcome<u64> {
        #[derive(Deserialize)]
        struct Stats {
            pages: u64,
        }
        Ok(serde_json::from_str::<Stats>(&self.ask("/_emulator/stats", None).await?)?.pages)
    }

    /// The ids of all organizations that the key sees.
    pub async fn organizations(&self) -> Outcome<Vec<String>> {
        #[derive(Deserialize)]
        struct Listed {
            results: Vec<Organization>,
        }
        #[derive(Deserialize)]
        struct Organization {
            _id: String,
        }
        let (client, mut all) = (client()?, Vec::new());
        loop {
            let url = format!("{}/api/organizations?limit=100&skip={}", self.url, all.len());
            let answer = client.get(url).header("x-api-key", KEY).send().await?.error_for_status()?.text().await?;
            let listed = serde_json::from_str::<Listed>(&answer)?.results;
            if listed.is_empty() {
                return Ok(all);
            }
            all.extend(listed.into_iter().map(|organization| organization._id));
        }
    }

    /// When each event became visible, by the SHA-256 of its bytes in hexadecimal.
    pub async fn visible(&self) -> Outcome<HashMap<String, Time>> {
        #[derive(Deserialize)]
        struct Line {
            sha256: String,
            visible_at: String,
        }
        let truth = self.ask("/_emulator/truth", None).await?;
        let lines = truth.lines().map(|line| {
            let Line { sha256, visible_at } = serde_json::from_str(line)?;
            let visible_at = Time::parse(&visible_at).ok_or("the emulator writes RFC 3339")?;
            Ok((sha256, visible_at))
        });
        lines.collect()
    }

    pub async fn ask(&self, path: &str, body: Option<String>) -> Outcome<String> {
        ask(&format!("{}{path}", self.url), body).await
    }
}

/// The variable that configurations name for the key, and its value.
pub const KEY_VARIABLE: (&str, &str) = ("BENCH_KEY", KEY);

async fn ask(url: &str, body: Option<String>) -> Outcome<String> {
    let client = client()?;
    let request = match body {
        Some(body) => client.post(url).body(body),
        None => client.get(url),
    };
    Ok(request.send().await?.error_for_status()?.text().await?)
}

/// As jumpstream's own, less what a bare download needs not.
pub fn client() -> Outcome<reqwest::Client> {
    // An error means that there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().no_proxy().http1_only().tls_certs_only([]).build()?)
}

/// Asks for one page and shows each piece of it as it comes.
pub async fn page(client: &reqwest::Client, url: &str, body: &str, mut piece: impl FnMut(Bytes)) -> Outcome<()> {
    let request = client.post(format!("{url}/insights/directory/v1/events")).header("x-api-key", KEY);
    let mut response = request.body(body.to_owned()).send().await?.error_for_status()?;
    while let Some(chunk) = response.chunk().await? {
        piece(chunk);
    }
    Ok(())
}

/// The events of a page's pieces.
pub fn events(pieces: impl IntoIterator<Item = Bytes>, mut each: impl FnMut(Event)) -> Outcome<()> {
    let mut parser = Parser::new(Limits::default());
    for piece in pieces {
        parser.push(piece);
        while let Some(element) = parser.pull()? {
            if let Element::Event(event) = element {
                each(event);
            }
        }
    }
    parser.finish()?;
    Ok(())
}
